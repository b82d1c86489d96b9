package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/sweep/silence"
)

// The stages that write dead letters.
const (
	stageLookup    = "lookup"    // A look-up was given up.
	stageNormalize = "normalize" // An answer cannot become an event.
	stageSweep     = "sweep"     // The broker gave a message up.
)

// awaitEvery is how often open look-ups are checked.
const awaitEvery = 100 * time.Millisecond

// asked is a payment whose look-up was made due, and what stood before.
type asked struct {
	payment
	observation uint64 // Its last, on STATUSES.
	letter      uint64 // Its last of look-ups, on DEAD_LETTERS.
}

// replay makes look-ups due, waits for their answers and counts the events
// that appeared.
func (s *session) replay(ctx context.Context, w io.Writer, r replaying) error {
	payments, skipped, err := s.chosen(ctx, r)
	if err != nil {
		return err
	}
	result := replayed{Skipped: skipped, Problems: []problem{}, Transitions: []transition{}}
	info, err := s.streams[subject.Orders].Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Orders, err)
	}
	open, err := s.summonAll(ctx, payments, r.rate)
	if err != nil {
		return err
	}
	result.Asked = len(open)
	if result.Problems, err = s.await(ctx, open, r.wait); err != nil {
		return err
	}
	for _, a := range open {
		made, err := s.eventsAbove(ctx, a.payment, info.State.LastSeq)
		if err != nil {
			return err
		}
		result.Transitions = append(result.Transitions, made...)
	}
	return s.printReplayed(w, result)
}

// summonAll makes the look-ups due, each after its audit entry.
func (s *session) summonAll(ctx context.Context, payments []payment, perSecond float64) ([]asked, error) {
	var all []asked
	bar, pace := newProgress(s.command.ErrOrStderr(), len(payments), "asking"), newPace(perSecond)
	for _, p := range payments {
		if err := pace.wait(ctx); err != nil {
			return nil, err
		}
		last, err := s.chains.Last(ctx, p.unit)
		if err != nil {
			return nil, err
		}
		letter, err := s.dead.Last(ctx, p.unit, stageLookup)
		if err != nil {
			return nil, err
		}
		if err := s.audit(ctx, verbReplay, p.unit, "", "ask the provider again"); err != nil {
			return nil, err
		}
		if err := s.summon(ctx, p); err != nil {
			return nil, fmt.Errorf("replay %s: %w", s.name(p), err)
		}
		all = append(all, asked{payment: p, observation: last.Sequence, letter: letter.Sequence})
		_ = bar.Add(1) // A bar that cannot be drawn must not stop the work.
	}
	_ = bar.Finish()
	return all, nil
}

// await waits until every look-up has been answered and its answer folded, or
// has failed, and returns the problems.
func (s *session) await(ctx context.Context, open []asked, patience time.Duration) ([]problem, error) {
	problems := []problem{}
	bar := newProgress(s.command.ErrOrStderr(), len(open), "waiting for answers")
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(awaitEvery)
	defer tick.Stop()
	for {
		var left []asked
		folded, err := s.folded(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range open {
			done, trouble, err := s.settledBy(ctx, a, folded)
			switch {
			case err != nil:
				return nil, err
			case trouble != "":
				problems = append(problems, problem{s.name(a.payment), trouble})
			case !done:
				left = append(left, a)
				continue
			}
			_ = bar.Add(1) // As above.
		}
		if open = left; len(open) == 0 {
			_ = bar.Finish() // As above.
			return problems, nil
		}
		select {
		case <-tick.C:
		case <-limit.C:
			for _, a := range open {
				problems = append(problems, problem{s.name(a.payment), "no answer within " + patience.String() + "; the look-up goes on"})
			}
			return problems, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// folded is the highest observation up to which all are folded.
func (s *session) folded(ctx context.Context) (uint64, error) {
	normalize, err := s.js.Consumer(ctx, subject.Statuses, subject.NormalizeConsumer)
	if err != nil {
		return 0, fmt.Errorf("read consumer %s: %w", subject.NormalizeConsumer, err)
	}
	return normalize.CachedInfo().AckFloor.Stream, nil
}

// settledBy says whether a look-up has come to its end, or what went wrong.
func (s *session) settledBy(ctx context.Context, a asked, folded uint64) (done bool, trouble string, err error) {
	last, err := s.chains.Last(ctx, a.unit)
	if err != nil {
		return false, "", err
	}
	place, err := s.lot.Look(ctx, a.unit.Provider, a.unit.Account, a.target.Payment)
	if err != nil {
		return false, "", err
	}
	if last.Sequence > a.observation {
		if folded < last.Sequence || place.Parked.Cause == order.CauseConfirmation {
			return false, "", nil
		}
		done, err = s.quiet(ctx, a.payment, last.Sequence)
		return done, "", err
	}
	if place.Sequence > 0 && place.Parked.Waits != waitsOperator {
		return false, fmt.Sprintf("failed (%s), parked until %s", place.Parked.Waits, place.Parked.DueAt.Format(time.RFC3339)), nil
	}
	letter, err := s.dead.Last(ctx, a.unit, stageLookup)
	if err == nil && letter.Sequence > a.letter {
		trouble = "failed, there is a dead letter"
	}
	return false, trouble, err
}

// quiet reports whether no look-up of a payment is under way and none has
// ended since its given observation was read. A return edge is only believed
// after a second look, which may have fired before we came to see it parked.
func (s *session) quiet(ctx context.Context, p payment, observation uint64) (bool, error) {
	due, err := s.lot.Due(ctx, p.unit.Provider, p.unit.Account, p.target.Payment)
	if err != nil {
		return false, err
	}
	if due.Sequence > 0 {
		// A broker that was killed may keep one that was acknowledged.
		floor, err := silence.AckFloor(ctx, s.js, subject.LookupRetries, subject.LookupDueConsumer(p.unit.Provider))
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
		var e order.Event
		if err := json.Unmarshal(raw.Data, &e); err != nil {
			return fmt.Errorf("decode event %d: %w", raw.Sequence, err)
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
