// Package orderindex finds the payments of an order without a search of ORDERS. The index
// is the stream ORDER_PAYMENTS: one message without a body for each order and payment, whose
// subject begins with the order.
package orderindex

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/stream"
	"arauto/schemas/subject"
)

// Add puts a payment of some orders into the index. normalize does so before it acks the
// observation of the first event with an order: so the index has every payment that ORDERS
// has, except for the few milliseconds in which event and entry are written. orders are
// subject tokens. Adding a payment twice leaves one message.
//
// The message is written even where the index has it, because sweep may be about to remove
// that one: see Remove. Its id is random and short: it only has to tell the messages of half
// a minute apart, and each entry keeps it.
func Add(ctx context.Context, writes commit.Appender, u subject.Unit, orders ...string) error {
	for _, order := range orders {
		var id [8]byte
		_, _ = rand.Read(id[:]) // It never fails.
		if _, err := writes.Store(ctx, commit.Message{ID: base64.RawURLEncoding.EncodeToString(id[:]), Subject: u.OfOrder(order)}); err != nil {
			return fmt.Errorf("write order index: %w", err)
		}
	}
	return nil
}

// Entry is a payment of an order as it was read from the index.
type Entry struct{ sequence uint64 }

// Read returns an order's entry of a payment, the zero Entry for none. order is a subject
// token.
func Read(ctx context.Context, index jetstream.Stream, order string, u subject.Unit) (Entry, error) {
	raw, err := stream.Last(ctx, index, u.OfOrder(order))
	if err != nil || raw == nil {
		return Entry{}, err
	}
	return Entry{raw.Sequence}, nil
}

// Remove removes an entry whose payment's events were removed since it was read. An entry
// that was written since has another sequence and stays, so no event is left without one:
//  1. sweep reads the entry, and removes the payment's events.
//  2. normalize adds the payment again, and writes an event, in any order.
//  3. sweep removes the entry that it has read, which is gone.
func Remove(ctx context.Context, index jetstream.Stream, e Entry) error {
	if e.sequence == 0 {
		return nil
	}
	return stream.Delete(ctx, index, e.sequence)
}

// upgrade is how long after the index was made a process that does not write it may run on.
// A guess.
const upgrade = 24 * time.Hour

// Index reads the index. It is safe for concurrent use.
type Index struct {
	index, orders jetstream.Stream
	tokens        subject.Tokens
}

// Open binds to ORDER_PAYMENTS and ORDERS.
func Open(ctx context.Context, js jetstream.JetStream, tokens subject.Tokens) (*Index, error) {
	x := &Index{tokens: tokens}
	for name, bound := range map[string]*jetstream.Stream{subject.OrderPayments: &x.index, subject.Orders: &x.orders} {
		var err error
		if *bound, err = js.Stream(ctx, name); err != nil {
			return nil, fmt.Errorf("open stream %s: %w", name, err)
		}
	}
	return x, nil
}

// PaymentsOf returns the payments of an order that have events, sorted by subject, none if
// there is none. A payment whose first event is being written may be among them or not.
// Only where the index was made after some events of ORDERS were written, the subjects of
// ORDERS are searched too, which takes 180 to 500 ms in a million events.
func (x *Index) PaymentsOf(ctx context.Context, order string) ([]subject.Unit, error) {
	token := x.tokens.Token(order)
	found := map[subject.Unit]bool{}
	add := func(s jetstream.Stream, filter string) error {
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return fmt.Errorf("list subjects on %s: %w", filter, err)
		}
		for on := range info.State.Subjects {
			unit, err := subject.ParseUnit(on)
			if err != nil {
				return fmt.Errorf("find payments of an order: %w", err)
			}
			found[unit] = true
		}
		return nil
	}
	if err := add(x.index, subject.Filter("", "").OfOrder(token)); err != nil {
		return nil, err
	}
	whole, err := x.whole(ctx)
	if err != nil {
		return nil, err
	}
	if !whole {
		if err := add(x.orders, subject.Filter("", "").Event(token, subject.Any)); err != nil {
			return nil, err
		}
	}
	units := make([]subject.Unit, 0, len(found))
	for unit := range found {
		units = append(units, unit)
	}
	slices.SortFunc(units, func(a, b subject.Unit) int { return cmp.Compare(a.String(), b.String()) })
	return units, nil
}

// whole reports whether the index has every payment of ORDERS: each event is younger than
// the index, and was written by a process that writes it.
func (x *Index) whole(ctx context.Context) (bool, error) {
	orders, err := x.orders.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("read state of %s: %w", subject.Orders, err)
	}
	made, first := stream.Incarnation(x.index.CachedInfo()), orders.State.FirstTime
	switch {
	case orders.State.Msgs == 0:
		return true, nil
	case first.Before(made):
		return false, nil
	}
	return !stream.Incarnation(orders).Before(made) || first.Sub(made) > upgrade, nil
}
