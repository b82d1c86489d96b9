package operator

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/observations"
)

// awaitEvery is how often open look-ups are checked.
const awaitEvery = 100 * time.Millisecond

// asked is a payment whose look-up was made due, and what stood before.
type asked struct {
	payment
	observation uint64 // Its last, on STATUSES.
	lookup      uint64 // Its last letter of look-ups, on DEAD_LETTERS.
	normalize   uint64 // Its last letter of answers, there too.
}

// replay makes look-ups due, waits for their answers and counts the events
// that appeared. What was done before it is cut short is told all the same.
func (s *session) replay(ctx context.Context, w io.Writer, r replaying) error {
	payments, skipped, err := s.chosen(ctx, r)
	if err != nil {
		return err
	}
	info, err := s.streams[subject.Orders].Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Orders, err)
	}
	open, err := s.summonAll(ctx, payments, r.rate)
	if err != nil && len(open) == 0 {
		return fmt.Errorf("replay %s: %w", s.name(payments[0]), err)
	}
	result := replayed{Asked: len(open), Skipped: skipped, Problems: []problem{}, Transitions: []transition{}}
	for _, p := range payments[len(open):] {
		result.Problems = append(result.Problems, problem{s.name(p), notAsked(err)})
	}
	result.Problems = append(result.Problems, s.await(ctx, open, r.wait)...)
	s.count(ctx, &result, open, info.State.LastSeq)
	return s.printReplayed(w, result)
}

// notAsked is the problem of a payment that a command did not come to. The first
// of them may have been asked about without a word that reached us.
func notAsked(err error) string { return "not asked, as far as is known: " + err.Error() }

// count adds the events above a sequence to a result. Who interrupts a replay
// still wants to know what it has done, so that has a moment left.
func (s *session) count(ctx context.Context, result *replayed, open []asked, above uint64) {
	if ctx.Err() != nil {
		more, cancel := context.WithTimeout(context.WithoutCancel(ctx), reach)
		defer cancel()
		ctx = more
	}
	for _, a := range open {
		made, err := s.eventsAbove(ctx, a.payment, above)
		if err != nil {
			result.Problems = append(result.Problems, problem{s.name(a.payment), "its transitions were not counted: " + err.Error()})
		}
		result.Transitions = append(result.Transitions, made...)
	}
}

// summonAll makes the look-ups due, each after its audit entry. With an error
// it returns the payments before the one that failed.
func (s *session) summonAll(ctx context.Context, payments []payment, perSecond float64) ([]asked, error) {
	var all []asked
	bar, pace := newProgress(s.command.ErrOrStderr(), len(payments), "asking"), newPace(perSecond)
	for _, p := range payments {
		if err := pace.wait(ctx); err != nil {
			return all, err
		}
		a, err := s.before(ctx, p)
		if err != nil {
			return all, err
		}
		if err := s.audit(ctx, verbReplay, p.unit, "", "ask the provider again"); err != nil {
			return all, err
		}
		if err := s.summon(ctx, p); err != nil {
			return all, err
		}
		all = append(all, a)
		_ = bar.Add(1) // A bar that cannot be drawn must not stop the work.
	}
	_ = bar.Finish()
	return all, nil
}

// before reads what stands of a payment before it is asked about.
func (s *session) before(ctx context.Context, p payment) (asked, error) {
	a := asked{payment: p}
	last, err := s.chains.Last(ctx, p.unit)
	if err != nil {
		return a, err
	}
	lookup, err := s.dead.Last(ctx, p.unit, record.StageLookup)
	if err != nil {
		return a, err
	}
	normalize, err := s.dead.Last(ctx, p.unit, record.StageNormalize)
	a.observation, a.lookup, a.normalize = last.Sequence, lookup.Sequence, normalize.Sequence
	return a, err
}

// await waits until every look-up has been answered and its answer folded, or
// has failed, and returns the problems.
func (s *session) await(ctx context.Context, open []asked, patience time.Duration) []problem {
	problems := []problem{}
	bar := newProgress(s.command.ErrOrStderr(), len(open), "waiting for answers")
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(awaitEvery)
	defer tick.Stop()
	for {
		left, found, err := s.settledOf(ctx, open)
		_ = bar.Add(len(open) - len(left)) // As above.
		open, problems = left, append(problems, found...)
		if len(open) == 0 {
			_ = bar.Finish() // As above.
			return problems
		}
		why := ""
		if err == nil {
			select {
			case <-tick.C:
				continue
			case <-limit.C:
				why = "no answer within " + patience.String()
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			why = "its answer was not waited for: " + err.Error()
		}
		for _, a := range open {
			problems = append(problems, problem{s.name(a.payment), why + "; the look-up goes on"})
		}
		return problems
	}
}

// settledOf tells look-ups that are still open from those that have come to
// their end, and of these the problems. With an error the rest is left.
func (s *session) settledOf(ctx context.Context, open []asked) (left []asked, problems []problem, err error) {
	folded, err := s.folded(ctx)
	if err != nil {
		return open, nil, err
	}
	for i, a := range open {
		done, trouble, err := s.settledBy(ctx, a, folded)
		switch {
		case err != nil:
			return append(left, open[i:]...), problems, err
		case trouble != "":
			problems = append(problems, problem{s.name(a.payment), trouble})
		case !done:
			left = append(left, a)
		}
	}
	return left, problems, nil
}

// folded is the highest observation up to which all are folded.
func (s *session) folded(ctx context.Context) (uint64, error) {
	normalize, err := s.js.Consumer(ctx, subject.Statuses, subject.NormalizeConsumer)
	if err != nil {
		return 0, fmt.Errorf("read consumer %s: %w", subject.NormalizeConsumer, err)
	}
	return normalize.CachedInfo().AckFloor.Stream, nil
}

// onItsWay reports whether what is parked is the look-up that was asked for, or
// what follows its answer, which is parked before that is written.
func onItsWay(p record.ScheduledLookUp) bool {
	switch p.Reason {
	case waitsOperator, string(order.CauseRecheck), string(order.CauseConfirmation):
		return true
	}
	return false
}

// settledBy says whether a look-up has come to its end, or what went wrong.
func (s *session) settledBy(ctx context.Context, a asked, folded uint64) (done bool, trouble string, err error) {
	last, err := s.chains.Last(ctx, a.unit)
	if err != nil {
		return false, "", err
	}
	place, err := s.lot.Read(ctx, a.unit.Provider, a.unit.Account, a.target.Payment)
	if err != nil {
		return false, "", err
	}
	if last.Sequence > a.observation {
		if folded < last.Sequence || place.Parked.Cause == order.CauseConfirmation {
			return false, "", nil
		}
		if done, err = s.quiet(ctx, a.payment, last.Sequence); err != nil || !done {
			return false, "", err
		}
		letter, err := s.dead.Last(ctx, a.unit, record.StageNormalize)
		if err == nil && letter.Sequence > a.normalize && letter.State == record.Open {
			trouble = "answered, there is a dead letter: " + letter.Cause
		}
		return true, trouble, err
	}
	if place.Sequence > 0 && !onItsWay(place.Parked) {
		return false, fmt.Sprintf("failed (%s), parked until %s", place.Parked.Reason, place.Parked.DueAt.Format(time.RFC3339)), nil
	}
	letter, err := s.dead.Last(ctx, a.unit, record.StageLookup)
	if err == nil && letter.Sequence > a.lookup {
		trouble = "failed, there is a dead letter"
	}
	return false, trouble, err
}

// quiet reports whether no look-up of a payment is under way and none has
// ended since its given observation was read. A return edge is only believed
// after a second look, which may have fired before we came to see it parked.
func (s *session) quiet(ctx context.Context, p payment, observation uint64) (bool, error) {
	due, err := s.lot.ReadDue(ctx, p.unit.Provider, p.unit.Account, p.target.Payment)
	if err != nil {
		return false, err
	}
	if due.Sequence > 0 {
		// A broker that was killed may keep one that was acknowledged.
		floor, err := consume.AckFloor(ctx, s.js, subject.LookupRetries, subject.LookupDueConsumer(p.unit.Provider))
		if err != nil || due.Sequence > floor {
			return false, err
		}
	}
	last, err := s.chains.Last(ctx, p.unit)
	return last.Sequence == observation, err
}

// eventsAbove lists a payment's events above a sequence.
func (s *session) eventsAbove(ctx context.Context, p payment, above uint64) ([]transition, error) {
	var made []transition
	err := s.each(ctx, subject.Orders, p.unit.Events(), above+1, func(raw *jetstream.RawStreamMsg) error {
		e, err := observations.EventOf(raw)
		if err != nil {
			return nil //nolint:nilerr // It is no transition that this version could name; order show has it.
		}
		one := transition{Payment: s.name(p), Order: s.shown(e.Order), Status: string(e.Status)}
		if e.From != nil {
			one.From = string(*e.From)
		}
		made = append(made, one)
		return nil
	})
	return made, err
}
