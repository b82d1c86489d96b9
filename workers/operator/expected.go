package operator

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/expectation"
	"arauto/schemas/subject"
)

// stateWithdrawn is the state of an expectation that was taken back.
const stateWithdrawn = string(expectation.Withdrawn)

// expected reads what is expected of a payment, at most one message, and then what came of
// each version.
func (s *Deployment) expected(ctx context.Context, p payment, in extent) ([]Entry, error) {
	open, err := s.stored(ctx, subject.Expectations, p.unit.Expected(), whatExpected, in, func(raw *jetstream.RawStreamMsg) (Entry, []Entry, error) {
		e, err := expectation.Read(raw.Data)
		if e.Withdrawn {
			return Entry{What: whatExpected, State: stateWithdrawn}, nil, err
		}
		return Entry{
			What: whatExpected, Order: s.shown(e.Order), Amount: e.Amount, Deadline: e.Deadline, Version: e.Version(p.target.Payment),
		}, nil, err
	})
	if err != nil {
		return nil, err
	}
	outcomes, err := s.stored(ctx, subject.Outcomes, p.unit.Outcomes(), whatOutcome, in, func(raw *jetstream.RawStreamMsg) (Entry, []Entry, error) {
		o, err := expectation.ReadOutcome(raw.Data)
		e := Entry{What: whatOutcome, ID: o.ID(), Outcome: string(o.Outcome), Version: o.Version, Amount: o.Expected, Deadline: o.Deadline, Paid: o.Paid}
		if o.Order != nil {
			e.Order = s.shown(*o.Order)
		}
		if o.Status != nil {
			e.Status = string(*o.Status)
		}
		if o.Transition != nil {
			e.Transition = *o.Transition
		}
		if o.Reason != nil {
			e.Reason = *o.Reason
		}
		if o.Other != nil {
			e.Other = o.Other.Provider + "/" + o.Other.Account + "/" + s.tokens.Shown(o.Other.Payment)
		}
		return e, nil, err
	})
	return append(open, outcomes...), err
}

// expectedText is the last column of an expectation and of an outcome.
func (e Entry) expectedText() string {
	if e.State == stateWithdrawn {
		return stateWithdrawn
	}
	var parts []string
	if e.What == whatOutcome {
		parts = append(parts, e.Outcome)
	}
	if e.Order != "" {
		until := "the default deadline"
		if e.Deadline != nil {
			until = e.Deadline.Format(time.RFC3339Nano)
		}
		parts = append(parts, fmt.Sprintf("%s until %s for order %s", sum(e.Amount), until, e.Order))
	}
	if e.Paid != nil {
		parts = append(parts, "paid "+sum(e.Paid))
	}
	if e.Other != "" {
		parts = append(parts, "paid by "+e.Other+" too")
	}
	if e.Reason != "" {
		parts = append(parts, e.Reason)
	}
	return strings.Join(parts, "; ")
}

// sum is an amount in minor units, as the flags of expect take it.
func sum(a *expectation.Amount) string {
	if a == nil {
		return "any sum"
	}
	return fmt.Sprintf("%d %s", a.Value, a.Currency)
}
