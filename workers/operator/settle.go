package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/workers/internal/deadletter"
)

// newSettle makes a command that acts on every chosen open letter, in steps of
// which it makes so many a second.
func newSettle(s *settings, name, steps string, state record.State, short, long string, act func(*session, context.Context, deadletter.Entry) error) *cobra.Command {
	f := sieve{state: stateOpen}
	var (
		perSecond float64
		all       bool
	)
	c := &cobra.Command{
		Use:   name + " [id...]",
		Short: short,
		Long:  long + "\nName letters by id, or choose them with flags; --all takes every open one.",
		RunE: func(c *cobra.Command, args []string) error {
			f.ids = args
			if err := errors.Join(f.check(), checkRate(perSecond)); err != nil {
				return usageError{err}
			}
			if f.narrow() == all {
				return usageError{fmt.Errorf("%s takes either ids and filters, or --all", c.CommandPath())}
			}
			return s.changing(c, func(ctx context.Context, s *session) error {
				letters, err := s.sift(ctx, f)
				if err != nil {
					return err
				}
				return s.settle(ctx, c.OutOrStdout(), state, letters, f.missing(letters), perSecond, act)
			})
		},
	}
	f.flags(c)
	rateFlag(c, &perSecond, steps)
	c.Flags().BoolVar(&all, "all", false, "every open letter")
	return c
}

// settled is what became of one letter.
type settled struct {
	ID      string `json:"id"`
	Payment string `json:"payment,omitempty"`
	State   string `json:"state,omitempty"`
	Problem string `json:"problem,omitempty"` // Why it is still open.
}

// settle acts on letters. Ids that somebody named and nothing open has are left.
func (s *session) settle(ctx context.Context, w io.Writer, state record.State, letters []deadletter.Entry, missing []string, perSecond float64,
	act func(*session, context.Context, deadletter.Entry) error) error {
	results := make([]settled, 0, len(letters)+len(missing))
	bar, pace := newProgress(s.command.ErrOrStderr(), len(letters), string(state)), newPace(perSecond)
	left := len(missing)
	for _, id := range missing {
		results = append(results, settled{ID: id, Problem: deadletter.ErrNotOpen.Error()})
	}
	for i, l := range letters {
		one := settled{ID: l.ID, Payment: l.Provider + "/" + l.Account + "/" + s.shown(l.Payment), State: string(state)}
		err := pace.wait(ctx)
		switch {
		case err != nil && i == 0:
			return err
		case err != nil: // What was done before must be told.
			err = fmt.Errorf("not reached: %w", err)
		default:
			err = act(s, ctx, l)
		}
		if err != nil {
			left++
			one.State, one.Problem = stateOpen, err.Error()
		}
		results = append(results, one)
		_ = bar.Add(1) // A bar that cannot be drawn must not stop the work.
	}
	_ = bar.Finish()
	if err := s.printSettled(w, results); err != nil || left == 0 {
		return err
	}
	return errPartly
}

func (s *session) printSettled(w io.Writer, results []settled) error {
	if s.output == jsonOutput {
		return writeJSON(w, results)
	}
	for _, r := range results {
		line := r.ID + ": " + r.Problem
		if r.State != "" {
			line = strings.TrimSuffix(r.ID+" "+r.Payment+": "+r.State+", "+r.Problem, ", ")
		}
		if err := printLine(w, line); err != nil {
			return err
		}
	}
	return printLine(w, fmt.Sprintf("%d letters", len(results)))
}

// errNobodyToAsk means that a payment has no provider that can be asked.
var errNobodyToAsk = errors.New("nobody can be asked about it")

// redrive makes a look-up of a letter's payment due and marks the letter. A
// crash in between leaves the letter open, and doing it again does no harm.
func (s *session) redrive(ctx context.Context, l deadletter.Entry) error {
	p := payment{unit: l.Unit, target: provider.Target{Kind: l.Kind, Payment: l.Payment, Order: l.Order}}
	if l.Kind == "" || l.Class == record.ClassSubscriber {
		return errNobodyToAsk
	}
	if err := s.askable(ctx, p, l); err != nil {
		return err
	}
	if err := s.audit(ctx, verbRedrive, l.Unit, l.ID, "ask the provider anew about the payment of a dead letter"); err != nil {
		return err
	}
	if err := s.summon(ctx, p); err != nil {
		return err
	}
	return s.dead.Mark(ctx, l, record.Redriven, s.by(), time.Now())
}

func (s *session) discard(ctx context.Context, l deadletter.Entry) error {
	if err := s.audit(ctx, verbDiscard, l.Unit, l.ID, "give up a dead letter"); err != nil {
		return err
	}
	return s.dead.Mark(ctx, l, record.Discarded, s.by(), time.Now())
}

// askable says why a look-up of a payment would be in vain, or nil. A payment
// whose webhooks were believed has no look-up; asking would only make one more
// dead letter. A letter in hand counts for what it says, the zero Letter for none.
func (s *session) askable(ctx context.Context, p payment, inHand deadletter.Entry) error {
	known, ok := providers.All.Get(p.unit.Provider)
	if !ok || known.Ask == nil {
		return errNobodyToAsk
	}
	if p.target.Kind == "" {
		return fmt.Errorf("%w: nothing that is stored says what it is", errNobodyToAsk)
	}
	// The operator's configuration may hold the look-up settings or not.
	if cfg, err := s.config.Lookup(); err == nil {
		account, ok := cfg.Accounts(p.unit.Provider)[p.unit.Account]
		if !ok {
			return fmt.Errorf("%w: its account is not configured", errNobodyToAsk)
		}
		if _, err := known.Ask(p.target, account); errors.Is(err, provider.ErrNoLookUp) {
			return errNobodyToAsk
		}
		return nil
	}
	return s.askedBefore(ctx, known, p, inHand)
}

// askedBefore is askable without an account's settings. Whether an account of
// a provider whose webhooks may be believed has a look-up shows only in what
// came of the payment so far, the latest first; about one that left no trace
// nobody knows.
func (s *session) askedBefore(ctx context.Context, known provider.Provider, p payment, inHand deadletter.Entry) error {
	if known.Payload == nil {
		return nil
	}
	var believed time.Time // The last that was; zero for never.
	last, err := s.chains.Last(ctx, p.unit)
	if err != nil || last.Observation.Confirmed {
		return err
	}
	if last.Sequence > 0 {
		believed = last.Observation.AnsweredAt
	} else {
		event, err := s.lastEvent(ctx, p.unit)
		if err != nil || event != nil && event.Confirmed {
			return err
		}
		if event != nil {
			believed = event.ObservedAt
		}
	}
	letter, err := s.dead.Last(ctx, p.unit, record.StageLookup)
	if err != nil {
		return err
	}
	switch {
	case askedSince(inHand, believed), askedSince(letter, believed):
		return nil
	case !believed.IsZero():
		return errNobodyToAsk
	}
	return fmt.Errorf("%w: its account's look-up settings are not here, and nobody was asked before", errNobodyToAsk)
}

// askedSince reports whether a letter shows that a provider was asked, later
// than some time. That attempts were spent does not show it: a worker that
// cannot ask spends them too, and its letter is of our class.
func askedSince(l deadletter.Entry, t time.Time) bool {
	return l.Stage == record.StageLookup && l.Class != record.ClassOurs && l.LastAnswer != record.NoAnswer && l.At.After(t)
}
