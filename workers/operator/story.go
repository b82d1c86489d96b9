package operator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/forgotten"
)

// fieldStatus is the name of the field in which adapters store a webhook's status word.
const fieldStatus = "status"

// Story is everything that is stored about one payment, as `arauto order show` prints it.
type Story struct {
	Unit    subject.Unit
	Payment string       // Its id, or the token of a personal one.
	Order   string       // "" while no document names one.
	Kind    order.Kind   // "" while no document names one.
	Last    *order.Event // The last event with hashed personal ids, nil without a readable one.
	Entries []Entry      // By time.
	Unasked uint64       // The newest webhook's sequence, if no look-up answers it, waits for it or was given up; otherwise 0.
	Older   []string     // The streams that have older messages about it than Entries.
}

// Story reads a payment, which is named as in subjects, with at most so many of the newest
// messages of each stream. The error is ErrNothingKnown if no stream has it.
func (s *Deployment) Story(ctx context.Context, unit subject.Unit, most uint64) (Story, error) {
	id, err := s.idOfUnit(ctx, unit)
	if err != nil {
		return Story{}, err
	}
	p, err := s.describe(ctx, unit, id)
	if err != nil {
		return Story{}, err
	}
	story := Story{Unit: unit, Payment: s.tokens.Shown(id), Order: s.shown(p.target.Order), Kind: p.target.Kind}
	in := extent{most: most, older: map[string]bool{}}
	if story.Entries, err = s.timeline(ctx, []payment{p}, in); err != nil {
		return story, err
	}
	story.Older = slices.Sorted(maps.Keys(in.older))
	if len(story.Entries) == 0 {
		return story, ErrNothingKnown
	}
	covered := uint64(0)
	for _, e := range story.Entries {
		covered = max(covered, e.covers)
		if e.What == whatNotification {
			story.Unasked = max(story.Unasked, e.Sequence)
		}
		story.Order = cmp.Or(story.Order, e.Order) // Of a payment that is only expected.
		if e.Event != nil {
			story.Last = e.Event
		}
	}
	if story.Unasked <= covered {
		story.Unasked = 0
	}
	return story, nil
}

// idOfUnit is the id of a payment whose token may be a hash: then a stored document has it.
func (s *Deployment) idOfUnit(ctx context.Context, unit subject.Unit) (string, error) {
	id := idOf(unit.Payment)
	if s.tokens.Token(id) == unit.Payment {
		return id, nil
	}
	for _, place := range []struct{ stream, filter string }{
		{subject.Statuses, unit.Status()},
		{subject.Notifications, unit.Notification()},
		{subject.Orders, unit.Events()},
		{subject.DeadLetters, unit.DeadLetter(subject.Any, subject.Any)},
		{subject.Expectations, unit.Expected()},
		{subject.Outcomes, unit.Outcomes()},
	} {
		raw, err := stream.Last(ctx, s.streams[place.stream], place.filter)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", place.stream, err)
		}
		if raw == nil {
			continue
		}
		if of, ok := contentOf(raw.Data); ok && s.tokens.Token(of.Payment) == unit.Payment {
			return of.Payment, nil
		}
	}
	return "", ErrNothingKnown
}

// shownEvent is an event without ids that may be personal.
func (s *Deployment) shownEvent(e order.Event) *order.Event {
	e.Payment, e.Order = s.shown(e.Payment), s.shown(e.Order)
	for _, text := range []**string{&e.ProviderReference, &e.Reason} {
		if *text != nil {
			shown := s.shown(**text)
			*text = &shown
		}
	}
	return &e
}

// judge says what each look-up of a payment meant for its log. The log is folded again, and
// begins where the last event before the first stored look-up had left it. Look-ups before the
// first event that was read are not judged if older messages of the log were left out.
func judge(line []Entry, in extent) {
	byObservation := map[uint64]*order.Event{}
	var first uint64
	for _, e := range line {
		if e.Event != nil {
			byObservation[e.Event.Observation] = e.Event
		}
		if e.observation != nil && (first == 0 || e.Sequence < first) {
			first = e.Sequence
		}
	}
	var before *order.Event
	for at, e := range byObservation {
		if at < first && (before == nil || at > before.Observation) {
			before = e
		}
	}
	standing := order.StandingOf(before)
	known := before != nil || !in.older[subject.Statuses] && !in.older[subject.Orders]
	for _, i := range lookUps(line) {
		e := &line[i]
		if made := byObservation[e.Sequence]; made != nil {
			standing, e.Outcome = order.StandingOf(made), string(order.Applied)
			known = true
			continue
		}
		if !known {
			continue
		}
		var outcome order.Outcome
		standing, outcome = standing.Fold(*e.observation, e.At)
		e.Outcome = string(outcome)
	}
}

// lookUps are the indexes of the readable look-ups, by sequence.
func lookUps(line []Entry) (at []int) {
	for i, e := range line {
		if e.observation != nil && e.observation.RefusedUntil == nil {
			at = append(at, i)
		}
	}
	slices.SortFunc(at, func(a, b int) int { return int(line[a].Sequence) - int(line[b].Sequence) })
	return at
}

// Waits reports whether the entry is a look-up that is scheduled or due.
func (e Entry) Waits() bool { return e.What == whatParked || e.What == whatDue }

// RefusedAfterForget is for how long after arauto forget no new event of the payment counts.
const RefusedAfterForget = forgotten.Refused

// OpenLetter reports whether the entry is a dead letter on which nothing has been done.
func (e Entry) OpenLetter() bool { return e.What == whatDeadLetter && e.State == string(record.Open) }
