package operator

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/observations"
)

// awaitEvery is how often the state of the look-ups is read. A guess.
const awaitEvery = 100 * time.Millisecond

// asked is a payment whose look-up was enqueued, and the sequences before that.
type asked struct {
	payment
	observation uint64 // Its last observation.
	lookup      uint64 // Its last dead letter of stage lookup.
	normalize   uint64 // Its last dead letter of stage normalize.
}

// replay enqueues look-ups, waits for their answers, and prints the events that were
// published meanwhile. If it is interrupted it prints what was done before.
func (s *session) replay(ctx context.Context, r replaying) error {
	payments, skipped, err := s.chosen(ctx, r)
	if err != nil {
		return err
	}
	info, err := s.streams[subject.Orders].Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Orders, err)
	}
	open, err := s.enqueueAll(ctx, payments, r.rate)
	if err != nil && len(open) == 0 {
		return fmt.Errorf("replay %s: %w", s.name(payments[0]), err)
	}
	result := replayed{Asked: len(open), Skipped: skipped, Problems: []problem{}, Transitions: []transition{}}
	for _, p := range payments[len(open):] {
		result.Problems = append(result.Problems, problem{s.name(p), notAsked(err)})
	}
	result.Problems = append(result.Problems, s.await(ctx, open, r.wait)...)
	s.count(ctx, &result, open, info.State.LastSeq)
	return s.showReplayed(result)
}

// notAsked is the problem of a payment that the command did not reach. The look-up of the
// first such payment may have been enqueued without a confirmation.
func notAsked(err error) string { return "not asked, as far as is known: " + err.Error() }

// count adds the events above a sequence to a result. If ctx has ended it takes another
// few seconds, because the result of an interrupted replay matters too.
func (s *Deployment) count(ctx context.Context, result *replayed, open []asked, above uint64) {
	if ctx.Err() != nil {
		more, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
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

// replayWhat is what AUDIT says about a replay.
const replayWhat = "ask the provider again"

// enqueueAll enqueues the look-ups, each after its audit entry. With an error it returns
// the payments before the failed payment.
func (s *session) enqueueAll(ctx context.Context, payments []payment, perSecond float64) ([]asked, error) {
	var all []asked
	pace := newPace(perSecond)
	for i := range s.steps(len(payments), "asking") {
		p := payments[i]
		if err := pace.Wait(ctx); err != nil {
			return all, err
		}
		a, err := s.before(ctx, p)
		if err != nil {
			return all, err
		}
		if err := s.audit(ctx, verbReplay, p.unit, "", replayWhat); err != nil {
			return all, err
		}
		if err := s.enqueue(ctx, p); err != nil {
			return all, err
		}
		all = append(all, a)
	}
	return all, nil
}

// before reads a payment's last sequences before its look-up.
func (s *Deployment) before(ctx context.Context, p payment) (asked, error) {
	a := asked{payment: p}
	last, err := s.observed.Last(ctx, p.unit)
	if err != nil {
		return a, err
	}
	lookup, err := s.deadLetters.Last(ctx, p.unit, record.StageLookup)
	if err != nil {
		return a, err
	}
	normalize, err := s.deadLetters.Last(ctx, p.unit, record.StageNormalize)
	a.observation, a.lookup, a.normalize = last.Sequence, lookup.Sequence, normalize.Sequence
	return a, err
}

// await waits until every look-up is finished and returns the problems.
func (s *session) await(ctx context.Context, open []asked, timeout time.Duration) []problem {
	problems := []problem{}
	bar := s.progress(len(open), "waiting for answers")
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	tick := time.NewTicker(awaitEvery)
	defer tick.Stop()
	for {
		left, found, err := s.splitFinished(ctx, open)
		_ = bar.Add(len(open) - len(left))
		open, problems = left, append(problems, found...)
		if len(open) == 0 {
			_ = bar.Finish()
			return problems
		}
		why := ""
		if err == nil {
			select {
			case <-tick.C:
				continue
			case <-limit.C:
				why = "no answer within " + timeout.String()
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

// splitFinished separates the unfinished look-ups from the problems of the failed ones. With an error the rest counts as unfinished.
func (s *Deployment) splitFinished(ctx context.Context, open []asked) (left []asked, problems []problem, err error) {
	folded, err := s.folded(ctx)
	if err != nil {
		return open, nil, err
	}
	for i, a := range open {
		done, trouble, err := s.finished(ctx, a, folded)
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

// folded is the sequence up to which normalize has folded all observations.
func (s *Deployment) folded(ctx context.Context) (uint64, error) {
	normalize, err := s.js.Consumer(ctx, subject.Statuses, subject.NormalizeConsumer)
	if err != nil {
		return 0, fmt.Errorf("read consumer %s: %w", subject.NormalizeConsumer, err)
	}
	return normalize.CachedInfo().AckFloor.Stream, nil
}

// expected reports whether p is the look-up that was enqueued, or the recheck or
// confirmation after its answer, which lookup schedules before it stores the answer.
func expected(p record.ScheduledLookUp) bool {
	switch p.Reason {
	case waitsOperator, string(order.CauseRecheck), string(order.CauseConfirmation):
		return true
	}
	return false
}

// finished reports whether a look-up is answered and folded, or what its problem is.
func (s *Deployment) finished(ctx context.Context, a asked, folded uint64) (done bool, trouble string, err error) {
	last, err := s.observed.Last(ctx, a.unit)
	if err != nil {
		return false, "", err
	}
	place, err := s.retries.Read(ctx, a.unit.Provider, a.unit.Account, a.target.Payment)
	if err != nil {
		return false, "", err
	}
	if last.Sequence > a.observation {
		if folded < last.Sequence || place.Parked.Cause == order.CauseConfirmation {
			return false, "", nil
		}
		if done, err = s.idle(ctx, a.payment, last.Sequence); err != nil || !done {
			return false, "", err
		}
		letter, err := s.deadLetters.Last(ctx, a.unit, record.StageNormalize)
		if err == nil && letter.Sequence > a.normalize && letter.State == record.Open {
			trouble = "answered, there is a dead letter: " + letter.Cause
		}
		return true, trouble, err
	}
	if place.Sequence > 0 && !expected(place.Parked) {
		return false, fmt.Sprintf("failed (%s), parked until %s", place.Parked.Reason, place.Parked.DueAt.Format(time.RFC3339)), nil
	}
	letter, err := s.deadLetters.Last(ctx, a.unit, record.StageLookup)
	if err == nil && letter.Sequence > a.lookup {
		trouble = "failed, there is a dead letter"
	}
	return false, trouble, err
}

// idle reports whether no look-up of a payment is being handled and none was answered
// after an observation. A return needs a confirmation, which may have fired before this
// command could read its schedule.
func (s *Deployment) idle(ctx context.Context, p payment, observation uint64) (bool, error) {
	due, err := s.retries.ReadDue(ctx, p.unit.Provider, p.unit.Account, p.target.Payment)
	if err != nil {
		return false, err
	}
	if due.Sequence > 0 {
		// A broker that was killed may still hold a message that was acknowledged: see
		// isScheduled of workers/sweep/stale.
		floor, err := consume.AckFloor(ctx, s.js, subject.LookupRetries, subject.LookupDueConsumer(p.unit.Provider))
		if err != nil || due.Sequence > floor {
			return false, err
		}
	}
	last, err := s.observed.Last(ctx, p.unit)
	return last.Sequence == observation, err
}

// eventsAbove lists a payment's events above a sequence.
func (s *Deployment) eventsAbove(ctx context.Context, p payment, above uint64) ([]transition, error) {
	var made []transition
	err := s.each(ctx, subject.Orders, p.unit.Events(), above+1, func(raw *jetstream.RawStreamMsg) bool {
		e, err := observations.EventOf(raw)
		if err != nil {
			return true // This version cannot read it; order show lists it.
		}
		one := transition{Payment: s.name(p), Order: s.shown(e.Order), Status: string(e.Status)}
		if e.From != nil {
			one.From = string(*e.From)
		}
		made = append(made, one)
		return true
	})
	return made, err
}
