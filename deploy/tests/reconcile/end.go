package reconcile

import (
	"slices"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// overdue is how long past its due time a schedule may still be waiting
// before it no longer counts as one that will fire.
const overdue = time.Minute

// ends lists every end that the streams give a notification.
//
// The first observation that covers it settles it: by what that observation
// meant if the notification itself prompted it, else as superseded, unless it
// had been given up before. What no observation covers must wait or have been
// given up, and not both.
func (f *file) ends(n Stored[record.Notification]) []Row {
	row := func(c Category, why string) Row {
		return Row{Sequence: n.Sequence, Payment: f.payment, Category: c, Why: why}
	}
	letter, given := f.letterFor(n.Sequence)
	answer := slices.IndexFunc(f.Observations, func(o Stored[order.Observation]) bool { return o.Record.Covers >= n.Sequence })
	if answer >= 0 {
		switch o := f.Observations[answer]; {
		case o.Record.Notification == n.Record.ID:
			return f.meaning(answer, row)
		case given && letter.At.Before(o.At):
			return []Row{row(Dead, cause(letter.Record))}
		}
		return []Row{row(Superseded, "")}
	}
	var ends []Row
	if given {
		ends = append(ends, row(Dead, cause(letter.Record)))
	}
	if p, ok := f.waiting(n.Sequence); ok && (!given || p.Record.Covers <= letter.Record.Covers) {
		ends = append(ends, row(Parked, p.Record.Reason))
	}
	return ends
}

// meaning is the end of a notification that prompted an observation. One that
// contradicts the log and is asked about again means what the next makes of it.
func (f *file) meaning(i int, row func(Category, string) Row) []Row {
	for ; i < len(f.outcomes); i++ {
		switch f.outcomes[i] {
		case order.Applied:
			return []Row{row(Event, "")}
		case order.Unchanged:
			return []Row{row(Unchanged, "")}
		case order.Late:
			return []Row{row(Late, "")}
		case order.Insisted, order.UnknownWord:
			if l, ok := f.letterAbout(f.Observations[i]); ok {
				return []Row{row(Dead, cause(l.Record))}
			}
			return nil
		case order.Unconfirmed, order.Illegal:
		}
	}
	if p, ok := f.waiting(0); ok {
		return []Row{row(Parked, p.Record.Reason)}
	}
	last := f.Observations[len(f.Observations)-1]
	if !last.Record.Confirmed {
		return []Row{row(Late, "nobody can be asked to confirm a return")}
	}
	if l, given := f.letterFor(last.Record.Covers); given && l.At.After(last.At) {
		return []Row{row(Dead, cause(l.Record))} // The look-up that was to confirm it.
	}
	return nil
}

// waiting finds the schedule that stands for a notification. One without a
// due time, or that should have fired long ago, is not waiting but stuck.
func (f *file) waiting(sequence uint64) (Stored[record.ScheduledLookUp], bool) {
	for _, p := range f.Parked {
		if p.Record.Covers >= sequence && !p.Record.DueAt.IsZero() && f.Read.Sub(p.Record.DueAt) < overdue {
			return p, true
		}
	}
	return Stored[record.ScheduledLookUp]{}, false
}

// letterFor finds the first dead letter of a look-up that stands for a
// notification. A letter that was written without asking anybody is about its
// own alone.
func (f *file) letterFor(sequence uint64) (Stored[record.DeadLetter], bool) {
	for _, l := range f.Letters {
		d := l.Record
		own := d.Stream == subject.Notifications && d.Sequence == sequence
		if d.Stage == record.StageLookup && (own || d.Covers >= sequence) && explained(d) {
			return l, true
		}
	}
	return Stored[record.DeadLetter]{}, false
}

// letterAbout finds the dead letter about an observation, or about an earlier one
// with the same word.
func (f *file) letterAbout(o Stored[order.Observation]) (Stored[record.DeadLetter], bool) {
	for _, l := range f.Letters {
		d := l.Record
		if d.Stage == record.StageNormalize && d.Observation <= o.Sequence && d.ProviderStatus == o.Record.ProviderStatus && explained(d) {
			return l, true
		}
	}
	return Stored[record.DeadLetter]{}, false
}

// explained reports whether a letter says what a person needs. One that does
// not ends nothing.
func explained(d record.DeadLetter) bool { return d.Class != "" && d.Cause != "" && d.Next != "" }

func cause(d record.DeadLetter) string {
	if d.Stage == record.StageNormalize {
		return string(d.Class) + ", " + record.StageNormalize
	}
	return string(d.Class) + ", " + d.LastAnswer
}
