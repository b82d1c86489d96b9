package reconcile

import (
	"fmt"
	"slices"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
)

// checkChain holds the observations to the rules of the chain: what they
// cover only grows, a notification is never answered by an ask that began
// before it was stored, and none is asked about again once it is answered. A
// look-up that fired for one, stood for a later one too and failed, is repeated
// under the name of the first: it is about what it newly covers.
func (f *file) checkChain() []string {
	var findings []string
	covered := uint64(0)
	for _, o := range f.Observations {
		if o.Record.Covers < covered {
			findings = append(findings, fmt.Sprintf("observation %d covers %d, the one before it %d", o.Sequence, o.Record.Covers, covered))
		}
		for _, n := range f.Notifications {
			if o.Record.Confirmed && n.Sequence > covered && n.Sequence <= o.Record.Covers && n.At.After(o.Record.AskedAt) {
				findings = append(findings, fmt.Sprintf("notification %d was stored after the ask of observation %d began, which claims to answer it", n.Sequence, o.Sequence))
			}
			if o.Record.Cause == order.CauseNotification && o.Record.Notification == n.Record.ID && n.Sequence <= covered && o.Record.Covers == covered {
				findings = append(findings, fmt.Sprintf("notification %d was answered twice, again by observation %d", n.Sequence, o.Sequence))
			}
		}
		covered = max(covered, o.Record.Covers)
	}
	return findings
}

// checkLog holds the order log to what the observations make of it: each
// transition once, numbered from 1 without gaps, each legal.
func (f *file) checkLog() []string {
	var findings []string
	at := 0
	var before *order.Event
	for i, o := range f.Observations {
		if f.outcomes[i] != order.Applied {
			continue
		}
		if at >= len(f.Events) {
			return append(findings, fmt.Sprintf("observation %d made a transition to %s, of which there is no event", o.Sequence, o.Record.Status))
		}
		e := f.Events[at].Record
		want := order.Announce(before, o.Record, o.Sequence, f.standing[i])
		switch {
		case e.Observation != want.Observation:
			return append(findings, fmt.Sprintf("event %d is folded from observation %d, the next transition is that of %d", f.Events[at].Sequence, e.Observation, want.Observation))
		case e.Transition != want.Transition || e.Status != want.Status || e.Final != want.Final || e.Correction != want.Correction || refunded(e) != refunded(want) || word(e.From) != word(want.From):
			findings = append(findings, fmt.Sprintf("event %d is transition %d from %q to %s, want %d from %q to %s",
				f.Events[at].Sequence, e.Transition, word(e.From), e.Status, want.Transition, word(want.From), want.Status))
		case !legal(e):
			findings = append(findings, fmt.Sprintf("event %d moves from %s to %s, which is no edge", f.Events[at].Sequence, word(e.From), e.Status))
		}
		before = &e
		at++
	}
	for _, e := range f.Events[at:] {
		findings = append(findings, fmt.Sprintf("event %d to %s has no transition behind it", e.Sequence, e.Record.Status))
	}
	return findings
}

// legal reports whether the declared graph has the event's edge. A larger
// refunded sum keeps the word.
func legal(e order.Event) bool {
	return e.From == nil || *e.From == e.Status || e.Kind.Reachable(*e.From, e.Status) || e.Kind.Returns(*e.From, e.Status) ||
		e.Correction && e.Kind.Corrects(*e.From, e.Status)
}

// checkLetters wants a dead letter for every observation that the log could
// not take, and each original given up once. What an operator made of a letter
// is stored as a letter too, and gives nothing up.
func (f *file) checkLetters() []string {
	var findings []string
	for i, o := range f.Observations {
		if f.outcomes[i] != order.Insisted && f.outcomes[i] != order.UnknownWord {
			continue
		}
		if _, ok := f.letterAbout(o); !ok {
			findings = append(findings, fmt.Sprintf("observation %d is %s and has no dead letter", o.Sequence, f.outcomes[i]))
		}
	}
	for i, l := range f.Letters {
		if !explained(l.Record) {
			findings = append(findings, fmt.Sprintf("dead letter %d lacks its class, cause or advice", l.Sequence))
		}
		if l.Record.State == record.Open && slices.ContainsFunc(f.Letters[:i], func(earlier Stored[record.DeadLetter]) bool { return earlier.Record.ID == l.Record.ID }) {
			findings = append(findings, fmt.Sprintf("dead letter %d repeats %s", l.Sequence, l.Record.ID))
		}
	}
	for _, p := range f.Parked {
		if late := f.Read.Sub(p.Record.DueAt); late >= overdue {
			findings = append(findings, fmt.Sprintf("schedule %d is stuck, it was due %v ago", p.Sequence, late.Round(time.Second)))
		}
	}
	return findings
}

// checkTruth compares with what the driver knows. Where the last notification
// still waits or was given up, the log may lag behind the provider.
func (f *file) checkTruth(t Truth, rows []Row) []string {
	var findings []string
	if got := len(f.Notifications); got < t.Accepted {
		findings = append(findings, fmt.Sprintf("%d notifications were answered 200, %d are stored", t.Accepted, got))
	}
	if t.Status == "" || len(f.Notifications) == 0 || len(rows) == 0 {
		return findings
	}
	last := rows[len(rows)-1]
	if last.Sequence != f.Notifications[len(f.Notifications)-1].Sequence || last.Category == Parked || last.Category == Dead {
		return findings
	}
	if len(f.Events) == 0 {
		return append(findings, fmt.Sprintf("the provider says %s, no event says anything", t.Status))
	}
	if e := f.Events[len(f.Events)-1].Record; e.Status != t.Status || refunded(e) != t.Refunded && e.Amount != nil {
		findings = append(findings, fmt.Sprintf("the provider says %s with %d refunded, the last event %s with %d", t.Status, t.Refunded, e.Status, refunded(e)))
	}
	return findings
}

func refunded(e order.Event) int64 {
	if e.Amount == nil {
		return 0
	}
	return e.Amount.Refunded
}

func word(s *order.Status) order.Status {
	if s == nil {
		return ""
	}
	return *s
}
