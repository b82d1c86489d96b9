// Package observations reads and appends a payment's observations on STATUSES, and
// reads its notifications. Each observation is a compare-and-append behind the one
// before it, so of several workers that look a payment up at once, one writes.
package observations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/spans"
	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// ErrRecreated means that a stream was recreated while this process ran, or that it has
// lost messages, so that sequences stored elsewhere name other messages. Going on would
// skip messages silently.
var ErrRecreated = errors.New("stream was recreated, or has lost messages that others refer to: " +
	"if the next start ends so too, restore it, or recreate the streams that refer to it as well")

// Store reads and appends the observations of every payment. It is safe for concurrent
// use.
type Store struct {
	Writes commit.Appender // What Append stores through; commit.Direct by default.

	statuses      jetstream.Stream
	notifications jetstream.Stream
	created       time.Time // Of NOTIFICATIONS when it was opened.
}

// Open binds to STATUSES and NOTIFICATIONS.
func Open(ctx context.Context, js jetstream.JetStream) (*Store, error) {
	statuses, err := js.Stream(ctx, subject.Statuses)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Statuses, err)
	}
	notifications, err := js.Stream(ctx, subject.Notifications)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Notifications, err)
	}
	return &Store{Writes: commit.Direct{JS: js}, statuses: statuses, notifications: notifications, created: stream.Incarnation(notifications.CachedInfo())}, nil
}

// Created is the creation time of the NOTIFICATIONS whose sequences the store uses.
func (c *Store) Created() time.Time { return c.created }

// On returns a store for another incarnation of NOTIFICATIONS: the one with that creation
// time.
func (c *Store) On(created time.Time) *Store {
	on := *c
	on.created = created
	return &on
}

// Entry is a payment's last observation as it was read. The zero Entry means that there
// is none.
type Entry struct {
	Sequence    uint64 // On STATUSES; the next observation expects it.
	Observation order.Observation
	Stored      time.Time // By the broker's clock.
}

// Refuses reports whether the payment was erased, and what a webhook said of it at a time is
// dropped.
func (l Entry) Refuses(at time.Time) bool {
	until := l.Observation.RefusedUntil
	return until != nil && at.Before(*until)
}

// Covers is the highest notification that the payment's observations answer.
func (l Entry) Covers() uint64 { return l.Observation.Covers }

// Last returns the unit's last observation from the stream's leader. An observation that
// does not decode, or whose sequences are of another incarnation of NOTIFICATIONS, is
// returned with Covers 0, so that it supersedes nothing. Its own sequence is returned all
// the same, so that the next observation can be appended behind it. normalize stores the
// dead letter of an observation that does not decode.
func (c *Store) Last(ctx context.Context, u subject.Unit) (Entry, error) {
	raw, err := stream.Last(ctx, c.statuses, u.Status())
	if err != nil || raw == nil {
		return Entry{}, err
	}
	last := Entry{Sequence: raw.Sequence, Stored: raw.Time}
	if json.Unmarshal(raw.Data, &last.Observation) != nil {
		last.Observation = order.Observation{}
	}
	if !record.SameIncarnation(last.Observation.NotificationsCreated, c.created) {
		last.Observation.Covers = 0
	}
	return last, nil
}

// Answered returns the account's last observation from the stream's leader. ok is false
// if there is none, or if it is not an answer of the provider.
func (c *Store) Answered(ctx context.Context, provider, account string) (last Entry, ok bool, err error) {
	last, err = c.Last(ctx, subject.Unit{Provider: provider, Account: account, Payment: subject.Any})
	return last, err == nil && last.Observation.Confirmed && last.Observation.Payment != "", err
}

// Notification is a unit's last notification. The zero Notification means that there is
// none.
type Notification struct {
	Sequence    uint64
	Stored      time.Time // By the broker's clock.
	NeedsLookUp bool      // The notification needs a look-up. A notification of an unknown type, or that does not decode, has a dead letter instead.
}

// LastNotification returns the unit's last notification from the stream's leader.
func (c *Store) LastNotification(ctx context.Context, u subject.Unit) (Notification, error) {
	raw, err := stream.Last(ctx, c.notifications, u.Notification())
	if err != nil || raw == nil {
		return Notification{}, err
	}
	var n struct {
		Unknown string `json:"unknown_type"`
	}
	asks := json.Unmarshal(raw.Data, &n) == nil && n.Unknown == ""
	return Notification{Sequence: raw.Sequence, Stored: raw.Time, NeedsLookUp: asks}, nil
}

// Stored is a notification and its sequence.
type Stored struct {
	Sequence     uint64
	Notification record.Notification
}

// NextNotification returns the unit's first notification above a sequence from the
// stream's leader. It skips an unreadable notification, whose own message gets a dead
// letter. ok is false if there is none.
func (c *Store) NextNotification(ctx context.Context, u subject.Unit, above uint64) (s Stored, ok bool, err error) {
	_, err = stream.Each(ctx, c.notifications, u.Notification(), above, func(raw *jetstream.RawStreamMsg) (bool, error) {
		s = Stored{Sequence: raw.Sequence}
		ok = json.Unmarshal(raw.Data, &s.Notification) == nil && s.Notification.Provider == u.Provider && s.Notification.Account == u.Account
		return !ok, nil
	})
	if err != nil || !ok {
		return Stored{}, false, err
	}
	return s, true, nil
}

// CheckCovers returns ErrRecreated if NOTIFICATIONS was recreated since the store was
// opened, or has not reached the notification that the payment's observations cover. In
// both cases the covered sequences name other notifications, so none counts as superseded.
func (c *Store) CheckCovers(ctx context.Context, covers uint64) error {
	info, err := c.notifications.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Notifications, err)
	}
	if covers > info.State.LastSeq || !stream.Incarnation(info).Equal(c.created) {
		return fmt.Errorf("%s: %w", subject.Notifications, ErrRecreated)
	}
	return nil
}

// Append writes an observation behind the last one and returns its sequence.
// stream.ErrConflict means that last is no longer the last one.
func (c *Store) Append(ctx context.Context, u subject.Unit, last Entry, o order.Observation, trace string) (uint64, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return 0, fmt.Errorf("encode observation: %w", err)
	}
	ctx, span, trace := spans.Send(ctx, subject.Statuses, trace)
	m := commit.Message{Subject: u.Status(), Body: body, Guard: &commit.Guard{Last: last.Sequence}}
	if trace != "" {
		m.Header = nats.Header{"traceparent": {trace}}
	}
	stored, err := c.Writes.Store(ctx, m)
	span.End(err)
	if stream.IsConflict(err) {
		if err := stream.WaitAfterConflict(ctx, err); err != nil {
			return 0, fmt.Errorf("write observation: %w", err)
		}
		return 0, stream.ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("write observation: %w", err)
	}
	return stored.Sequence, nil
}
