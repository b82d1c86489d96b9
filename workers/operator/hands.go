package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/deadletter"
)

// RetryNow makes what is parked for a payment due now, as `arauto retry now` does. due is false
// if nothing is parked.
func (s *Deployment) RetryNow(ctx context.Context, unit subject.Unit) (due bool, err error) {
	p, err := s.known(ctx, unit)
	if err != nil {
		return false, err
	}
	one, err := s.expedite(ctx, p)
	return one.Due, err
}

// Askable returns why the provider cannot be asked about a payment, or nil.
func (s *Deployment) Askable(ctx context.Context, unit subject.Unit) error {
	p, err := s.known(ctx, unit)
	if err != nil {
		return err
	}
	return s.askable(ctx, p, deadletter.Entry{})
}

// ErrNoLookUp means that the provider cannot be asked about a payment.
var ErrNoLookUp = errNoLookUp

// Replay makes a look-up of a payment due now, as `arauto replay --payment` does, and does not
// wait for its answer.
func (s *Deployment) Replay(ctx context.Context, unit subject.Unit) error {
	p, err := s.known(ctx, unit)
	if err != nil {
		return err
	}
	if err := s.askable(ctx, p, deadletter.Entry{}); err != nil {
		return err
	}
	if err := s.audit(ctx, verbReplay, p.unit, "", replayWhat); err != nil {
		return err
	}
	return s.enqueue(ctx, p)
}

// known describes a payment that is named as in subjects.
func (s *Deployment) known(ctx context.Context, unit subject.Unit) (payment, error) {
	id, err := s.idOfUnit(ctx, unit)
	if err != nil {
		return payment{}, err
	}
	return s.describe(ctx, unit, id)
}

// Redrive asks the provider again about the payment of a dead letter, as `arauto dead redrive`
// does.
func (s *Deployment) Redrive(ctx context.Context, l deadletter.Entry) error { return s.redrive(ctx, l) }

// Discard gives a dead letter up, as `arauto dead discard` does. reason is for AUDIT, and may
// be "".
func (s *Deployment) Discard(ctx context.Context, l deadletter.Entry, reason string) error {
	what := "give up a dead letter"
	if reason != "" {
		what += ": " + reason
	}
	if err := s.audit(ctx, verbDiscard, l.Unit, l.ID, what); err != nil {
		return err
	}
	return s.deadLetters.Mark(ctx, l, record.Discarded, s.by(), time.Now())
}

// StopsJob records on AUDIT that the person is about to stop a job on dead letters, which what
// describes. It changes nothing by itself, so a hold does not refuse it.
func (s *Deployment) StopsJob(ctx context.Context, what string) error {
	return s.audit(ctx, verbJobStop, subject.Unit{}, "", what)
}

// LongestReason is how many bytes a reason may have. A guess.
const LongestReason = 200

// CheckReason returns why a text cannot be the reason of a discard, or nil. AUDIT is kept for
// long, so a text with an id that may be personal is refused.
func CheckReason(reason string) error {
	switch {
	case len(reason) > LongestReason:
		return fmt.Errorf("the reason has more than %d bytes", LongestReason)
	case visible(reason) != reason:
		return errors.New("the reason has characters that cannot be printed")
	case subject.Personal(reason):
		return errors.New("the reason may name a person; write it without e-mail addresses and document numbers")
	}
	return nil
}

// OpenCircuit stops an account's look-ups, as `arauto circuit open` does.
func (s *Deployment) OpenCircuit(ctx context.Context, provider, account string) error {
	return s.setCircuit(ctx, opening, scope{provider: provider, account: account})
}

// CloseCircuit lets an account's look-ups run again, as `arauto circuit close` does.
func (s *Deployment) CloseCircuit(ctx context.Context, provider, account string) error {
	return s.setCircuit(ctx, closing, scope{provider: provider, account: account})
}

// circuitChange opens or closes a circuit.
type circuitChange struct {
	name, short, verb string
	set               func(b *breaker.Store, ctx context.Context, provider, account, by string) error
}

// The two changes.
var (
	opening = circuitChange{"open", "Stop an account's look-ups; they are parked and no attempt counts", verbCircuitOpen, (*breaker.Store).OpenBy}
	closing = circuitChange{"close", "Let an account's look-ups run again", verbCircuitClose, (*breaker.Store).CloseBy}
)

func (s *Deployment) setCircuit(ctx context.Context, change circuitChange, in scope) error {
	store, err := breaker.Open(ctx, s.js)
	if err != nil {
		return err
	}
	if err := s.checkAccount(ctx, store, in, change.verb); err != nil {
		return err
	}
	if err := s.audit(ctx, change.verb, subject.Unit{Provider: in.provider, Account: in.account}, "", change.short); err != nil {
		return err
	}
	return change.set(store, ctx, in.provider, in.account, s.by())
}

// Circuits lists the circuits of every account and host that was ever stopped.
func (s *Deployment) Circuits(ctx context.Context) ([]record.Circuit, error) { return s.circuits(ctx) }

// Found is a payment that a search found.
type Found struct {
	Unit    subject.Unit
	Payment string // Its id, or the token of a personal one.
	Order   string // "" while no document names one.
}

// Find returns the payments whose own id, order or provider's reference is id, as `arauto order
// show` finds them. It reads at most so many of the newest messages of each stream; unread
// reports whether there are more messages, in which others may be. The error is
// ErrNothingKnown if there are none.
func (s *Deployment) Find(ctx context.Context, id string, most uint64) (all []Found, unread bool, err error) {
	payments, unread, err := s.findWithin(ctx, id, scope{expected: true}, most)
	for _, p := range payments {
		all = append(all, Found{Unit: p.unit, Payment: s.tokens.Shown(p.target.Payment), Order: s.shown(p.target.Order)})
	}
	return all, unread, err
}

// Shown is a dead letter with hashed ids where these may be personal.
func (s *Deployment) Shown(l deadletter.Entry) record.DeadLetter {
	return s.shownLetters([]deadletter.Entry{l})[0]
}
