package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
)

// payment is a payment that a command is about.
type payment struct {
	unit   subject.Unit
	target provider.Target
}

// ErrNothingKnown means that no stream holds an id.
var ErrNothingKnown = errors.New("no payment is known by that order, payment or provider reference")

// find returns the payments whose own id, order or provider's reference is id, sorted by
// subject.
func (s *Deployment) find(ctx context.Context, id string, in scope) ([]payment, error) {
	found, _, err := s.findWithin(ctx, id, in, searchMore)
	return found, err
}

// findWithin is find with the number of the newest messages of each stream that are read
// although subjects name the id. unread reports whether there are more messages.
func (s *Deployment) findWithin(ctx context.Context, id string, in scope, most uint64) (found []payment, unread bool, err error) {
	units, err := s.findPayment(ctx, id, in)
	if err != nil {
		return nil, false, err
	}
	more, err := s.findOrder(ctx, id, in)
	if err != nil {
		return nil, false, err
	}
	maps.Copy(more, units)
	if len(more) == 0 && most == searchMore {
		most = searchAll
	}
	named, unread, err := s.findByContent(ctx, id, in, most)
	if err != nil {
		return nil, false, err
	}
	maps.Copy(more, named)
	switch {
	case len(more) > 0:
	case unread:
		return nil, true, fmt.Errorf("%w, in the newest %d messages of each stream", ErrNothingKnown, most)
	default:
		return nil, false, ErrNothingKnown
	}
	found, err = s.describeAll(ctx, more)
	return found, unread, err
}

// findPayment finds the units of a payment, with its id.
func (s *Deployment) findPayment(ctx context.Context, id string, in scope) (map[subject.Unit]string, error) {
	unit, waiting := subject.Filter(in.provider, in.account), subject.FilterWaiting(in.provider, in.account)
	unit.Payment, waiting.Hash = s.tokens.Token(id), s.tokens.Hash(id)
	found := map[subject.Unit]string{}
	places := []struct{ stream, filter string }{
		{subject.Notifications, unit.Notification()},
		{subject.Statuses, unit.Status()},
		{subject.Orders, unit.Events()},
		{subject.LookupRetries, waiting.Parked()},
		{subject.LookupRetries, waiting.Due()},
		{subject.DeadLetters, unit.DeadLetter(subject.Any, subject.Any)},
		{subject.Expectations, unit.Expected()},
		{subject.Outcomes, unit.Outcomes()},
	}
	if !in.expected {
		places = places[:len(places)-2]
	}
	for _, place := range places {
		subjects, err := s.subjects(ctx, place.stream, place.filter)
		if err != nil {
			return nil, err
		}
		for _, on := range subjects {
			of, err := subject.ParseUnit(on)
			if waits, waitErr := subject.ParseWaiting(on); waitErr == nil {
				of, err = subject.Unit{Provider: waits.Provider, Account: waits.Account, Payment: unit.Payment}, nil
			}
			if err != nil {
				return nil, fmt.Errorf("find payment: %w", err)
			}
			found[of] = id
		}
	}
	if !in.erasing {
		return found, nil
	}
	// What another payment's outcome says of it must go too, where nothing else is left of it.
	return found, stream.EachFew(ctx, s.streams[subject.Outcomes], pairs, 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		if o, err := expectation.ReadOutcome(raw.Data); err == nil && o.Other != nil && o.Other.Payment == id && in.has(o.Other.Provider, o.Other.Account) {
			found[s.tokens.Unit(o.Other.Provider, o.Other.Account, id)] = id
		}
		return true, nil
	})
}

// findOrder finds the units of an order's payments that have events. findByContent finds the
// others.
func (s *Deployment) findOrder(ctx context.Context, id string, in scope) (map[subject.Unit]string, error) {
	units, err := s.orders.PaymentsOf(ctx, id)
	if err != nil {
		return nil, err
	}
	found := map[subject.Unit]string{}
	for _, unit := range units {
		if !in.has(unit.Provider, unit.Account) {
			continue
		}
		last, err := s.lastEvent(ctx, unit)
		if err != nil {
			return nil, err
		}
		found[unit] = idOf(unit.Payment)
		if last != nil {
			found[unit] = last.Payment
		}
	}
	return found, nil
}

// idOf is the id that a subject token encodes, or the token if it is a hash.
func idOf(token string) string {
	if id, err := url.PathUnescape(token); err == nil {
		return id
	}
	return token
}

// subjects lists a stream's subjects on filter.
func (s *Deployment) subjects(ctx context.Context, stream, filter string) ([]string, error) {
	info, err := s.streams[stream].Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("list subjects of %s: %w", stream, err)
	}
	return slices.Sorted(maps.Keys(info.State.Subjects)), nil
}

// describe reads what the look-up of a payment needs, from the newest stored documents.
func (s *Deployment) describe(ctx context.Context, unit subject.Unit, id string) (payment, error) {
	p := payment{unit: unit, target: provider.Target{Payment: id}}
	last, err := s.observed.Last(ctx, unit)
	if err != nil {
		return p, err
	}
	p.target.Kind, p.target.Order = last.Observation.Kind, last.Observation.Order
	raw, err := stream.Last(ctx, s.streams[subject.Notifications], unit.Notification())
	if err != nil {
		return p, fmt.Errorf("read last notification: %w", err)
	}
	var n record.Notification
	if raw != nil && json.Unmarshal(raw.Data, &n) == nil { // If this document does not decode, the next one may.
		p.fill(n.Kind, n.Order)
		p.target.Fields = n.Fields
	}
	for _, read := range []func(context.Context, string, string, string) (retry.Entry, error){s.retries.Read, s.retries.ReadDue} {
		entry, err := read(ctx, unit.Provider, unit.Account, id)
		if err != nil {
			return p, err
		}
		p.fill(entry.Parked.Kind, entry.Parked.Order)
	}
	if p.target.Kind != "" && p.target.Order != "" {
		return p, nil
	}
	// A payment that was never answered may have only a dead letter, and dead letters are kept
	// for longer than observations.
	for _, stage := range []string{record.StageLookup, record.StageNormalize, record.StageSweep} {
		letter, err := s.deadLetters.Last(ctx, unit, stage)
		if err != nil {
			return p, err
		}
		p.fill(letter.Kind, letter.Order)
	}
	event, err := s.lastEvent(ctx, unit)
	if err == nil && event != nil {
		p.fill(event.Kind, event.Order)
	}
	return p, err
}

// lastEvent reads a payment's last readable event, nil for none.
func (s *Deployment) lastEvent(ctx context.Context, unit subject.Unit) (*order.Event, error) {
	log, err := observations.OrderLog(ctx, s.streams[subject.Orders], unit)
	return log.Last, err
}

// fill sets the fields of the target that are empty.
func (p *payment) fill(kind order.Kind, of string) {
	p.target.Kind, p.target.Order = cmp.Or(p.target.Kind, kind), cmp.Or(p.target.Order, of)
}

// name is "provider/account/payment", without personal data.
func (s *Deployment) name(p payment) string {
	return p.unit.Provider + "/" + p.unit.Account + "/" + s.tokens.Shown(p.target.Payment)
}
