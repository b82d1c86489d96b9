package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/workers/internal/deadletter"
)

// action acts on open dead letters.
type action struct {
	name, short, long string
	steps             string // What --rate counts.
	state             record.State
	do                func(*session, context.Context, deadletter.Entry) error
}

// newAct makes a command that acts on every chosen open dead letter, so many per second.
func newAct(s *settings, a action) *cobra.Command {
	f := letterFilter{state: stateOpen}
	var (
		reason    string
		perSecond float64
		all       bool
	)
	c := &cobra.Command{
		Use:   a.name + " [id...]",
		Short: a.short,
		Long:  a.long + "\nName letters by id, or choose them with flags; --all takes every open one.",
		RunE: func(c *cobra.Command, args []string) error {
			f.ids = args
			if err := checkRate(perSecond); err != nil {
				return err
			}
			if err := CheckReason(reason); err != nil {
				return usageError{fmt.Errorf("--reason: %w", err)}
			}
			if f.chooses() == all {
				return usageError{fmt.Errorf("%s takes either ids and filters, or --all", c.CommandPath())}
			}
			return s.changing(c, func(ctx context.Context, s *session) error {
				s.reason = reason
				letters, err := s.chooseLetters(ctx, f)
				if err != nil {
					return err
				}
				return s.act(ctx, a, letters, f.missing(letters), perSecond)
			})
		},
	}
	f.flags(c)
	rateFlag(c, &perSecond, a.steps)
	c.Flags().BoolVar(&all, "all", false, "every open letter")
	if a.state == record.Discarded {
		c.Flags().StringVar(&reason, "reason", "", "`why`, for AUDIT; no personal data")
	}
	return c
}

// acted is the result for one dead letter.
type acted struct {
	ID      string `json:"id"`
	Payment string `json:"payment,omitempty"`
	State   string `json:"state,omitempty"`
	Problem string `json:"problem,omitempty"` // Why it is still open.
}

// act acts on dead letters. Ids in missing are of no open dead letter.
func (s *session) act(ctx context.Context, a action, letters []deadletter.Entry, missing []string, perSecond float64) error {
	results, pace, left := make([]acted, 0, len(letters)+len(missing)), newPace(perSecond), len(missing)
	for _, id := range missing {
		results = append(results, acted{ID: id, Problem: deadletter.ErrNotOpen.Error()})
	}
	for i := range s.steps(len(letters), string(a.state)) {
		l := letters[i]
		one := acted{ID: l.ID, Payment: l.Provider + "/" + l.Account + "/" + s.shown(l.Payment), State: string(a.state)}
		err := pace.Wait(ctx)
		switch {
		case err != nil && i == 0:
			return err
		case err != nil: // The results of the dead letters before this one are printed.
			err = fmt.Errorf("not reached: %w", err)
		default:
			err = a.do(s, ctx, l)
		}
		if err != nil {
			left++
			one.State, one.Problem = stateOpen, err.Error()
		}
		results = append(results, one)
	}
	var lines []string
	for _, r := range results {
		text := r.ID + ": " + r.Problem
		if r.State != "" {
			text = strings.TrimSuffix(r.ID+" "+r.Payment+": "+r.State+", "+r.Problem, ", ")
		}
		lines = append(lines, line("%s", text))
	}
	if err := s.show(s.command, results, append(lines, line("%d of %d letters %s", len(results)-left, len(results), a.state))...); err != nil || left == 0 {
		return err
	}
	return errPartly
}

// errNoLookUp means that a payment cannot be looked up.
var errNoLookUp = errors.New("it cannot be looked up")

// redrive enqueues a look-up of a dead letter's payment and marks the dead letter. After a
// crash in between it stays open, and redriving it again does no harm.
func (s *Deployment) redrive(ctx context.Context, l deadletter.Entry) error {
	p := payment{unit: l.Unit, target: provider.Target{Kind: l.Kind, Payment: l.Payment, Order: l.Order}}
	if l.Kind == "" || l.Class == record.ClassSubscriber {
		return errNoLookUp
	}
	if err := s.askable(ctx, p, l); err != nil {
		return err
	}
	if err := s.audit(ctx, verbRedrive, l.Unit, l.ID, "ask the provider again about the payment of a dead letter"); err != nil {
		return err
	}
	if err := s.enqueue(ctx, p); err != nil {
		return err
	}
	return s.deadLetters.Mark(ctx, l, record.Redriven, s.by(), time.Now())
}

func (s *Deployment) discard(ctx context.Context, l deadletter.Entry) error {
	return s.Discard(ctx, l, s.reason)
}

// askable returns why a look-up of a payment is of no use, or nil. Where the payload was
// trusted there is no look-up, and asking would only make another dead letter. inHand is a
// dead letter of the payment, the zero Entry for none.
func (s *Deployment) askable(ctx context.Context, p payment, inHand deadletter.Entry) error {
	known, ok := providers.All.Get(p.unit.Provider)
	if !ok || known.Ask == nil {
		return errNoLookUp
	}
	if p.target.Kind == "" {
		return fmt.Errorf("%w: nothing that is stored says what it is", errNoLookUp)
	}
	// This machine's configuration may lack the look-up settings.
	if cfg, err := s.config.Lookup(); err == nil {
		account, ok := cfg.Accounts(p.unit.Provider)[p.unit.Account]
		if !ok {
			return fmt.Errorf("%w: its account is not configured", errNoLookUp)
		}
		if _, err := known.Ask(p.target, account); errors.Is(err, provider.ErrNoLookUp) {
			return errNoLookUp
		}
		return nil
	}
	return s.askedBefore(ctx, known, p, inHand)
}

// askedBefore is askable without the account's settings. A provider whose payload may be
// trusted has accounts with and without a look-up; which of them the payment's account is
// shows only in the payment's stored results, of which the latest counts.
func (s *Deployment) askedBefore(ctx context.Context, known provider.Provider, p payment, inHand deadletter.Entry) error {
	if known.Payload == nil {
		return nil
	}
	var trusted time.Time // The time at which a payload was last trusted; zero for never.
	last, err := s.observed.Last(ctx, p.unit)
	if err != nil || last.Observation.Confirmed {
		return err
	}
	if last.Sequence > 0 {
		trusted = last.Observation.AnsweredAt
	} else {
		event, err := s.lastEvent(ctx, p.unit)
		if err != nil || event != nil && event.Confirmed {
			return err
		}
		if event != nil {
			trusted = event.ObservedAt
		}
	}
	letter, err := s.deadLetters.Last(ctx, p.unit, record.StageLookup)
	if err != nil {
		return err
	}
	switch {
	case askedSince(inHand, trusted), askedSince(letter, trusted):
		return nil
	case !trusted.IsZero():
		return errNoLookUp
	}
	return fmt.Errorf("%w: its account's look-up settings are not here, and the provider was not asked before", errNoLookUp)
}

// askedSince reports whether a dead letter shows that the provider was asked after t. The
// number of attempts does not show it: a worker that cannot ask counts attempts too, in
// class ours.
func askedSince(l deadletter.Entry, t time.Time) bool {
	return l.Stage == record.StageLookup && l.Class != record.ClassOurs && l.LastAnswer != record.NoAnswer && l.At.After(t)
}
