// Package observations reads and extends the chain of a payment's observations on
// STATUSES. Each observation is written under the guard of the one before it,
// so whoever asked a provider and lost the race learns it from the broker.
package observations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// ErrRecreated means that a stream's numbers began anew, so that sequences
// stored elsewhere no longer mean what they meant. Going on would skip
// notifications in silence.
var ErrRecreated = errors.New("stream was recreated: stored sequences lie above its last one; " +
	"restore it, or recreate the streams that refer to it as well")

// Store are the observations of every payment. It is safe for concurrent use.
type Store struct {
	js            jetstream.JetStream
	statuses      jetstream.Stream
	notifications jetstream.Stream
}

// Open finds the streams.
func Open(ctx context.Context, js jetstream.JetStream) (*Store, error) {
	statuses, err := js.Stream(ctx, subject.Statuses)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Statuses, err)
	}
	notifications, err := js.Stream(ctx, subject.Notifications)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Notifications, err)
	}
	return &Store{js: js, statuses: statuses, notifications: notifications}, nil
}

// Entry is the last observation of a payment when it was read. The zero Link
// is an empty chain.
type Entry struct {
	Sequence    uint64 // On STATUSES; the guard of the next observation.
	Observation order.Observation
	Stored      time.Time // By the broker's clock.
}

// Covers is the highest notification that the chain answers.
func (l Entry) Covers() uint64 { return l.Observation.Covers }

// Last reads the unit's last observation from the stream's leader. One that does
// not decode covers nothing and says nothing, but guards the next one, so that it
// cannot hold up the payment; normalize writes a dead letter about it.
func (c *Store) Last(ctx context.Context, u subject.Unit) (Entry, error) {
	raw, err := stream.Last(ctx, c.statuses, u.Status())
	if err != nil || raw == nil {
		return Entry{}, err
	}
	link := Entry{Sequence: raw.Sequence, Stored: raw.Time}
	if json.Unmarshal(raw.Data, &link.Observation) != nil {
		link.Observation = order.Observation{}
	}
	return link, nil
}

// Answered reads the last observation of an account that the provider gave
// itself, from the stream's leader. ok is false when there is none, or when
// something else was written after it.
func (c *Store) Answered(ctx context.Context, provider, account string) (link Entry, ok bool, err error) {
	link, err = c.Last(ctx, subject.Unit{Provider: provider, Account: account, Payment: subject.Any})
	return link, err == nil && link.Observation.Confirmed && link.Observation.Payment != "", err
}

// Notification is a unit's last notification. The zero Newest means that there is
// none.
type Notification struct {
	Sequence uint64
	Asks     bool // A look-up is made for it. One of an unknown type, or that does not decode, has a dead letter instead.
}

// LastNotification reads the unit's last notification from the stream's leader.
func (c *Store) LastNotification(ctx context.Context, u subject.Unit) (Notification, error) {
	raw, err := stream.Last(ctx, c.notifications, u.Notification())
	if err != nil || raw == nil {
		return Notification{}, err
	}
	var n struct {
		Unknown string `json:"unknown_type"`
	}
	asks := json.Unmarshal(raw.Data, &n) == nil && n.Unknown == ""
	return Notification{Sequence: raw.Sequence, Asks: asks}, nil
}

// Stored is one stored notification.
type Stored struct {
	Sequence     uint64
	Notification record.Notification
}

// NextNotification reads the unit's first notification above a sequence from
// the stream's leader. One that does not decode is passed over: its own message
// gets a dead letter. ok is false when there is none.
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

// skew is how far apart the broker's own timestamps may lie: streams can have
// their leaders on different servers.
const skew = 10 * time.Second

// StoredAfter reports whether a message cannot have been there yet when what
// claims to include it was written, by the broker's clocks. Then the claim is
// about another message, whose number was given out a second time.
func StoredAfter(message, claim time.Time) bool { return message.After(claim.Add(skew)) }

// CheckCovers returns ErrRecreated when the chain answers a notification that
// the stream has not reached: then nothing may be called superseded.
func (c *Store) CheckCovers(ctx context.Context, covers uint64) error {
	info, err := c.notifications.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Notifications, err)
	}
	if covers > info.State.LastSeq {
		return fmt.Errorf("%s: %w", subject.Notifications, ErrRecreated)
	}
	return nil
}

// Append writes an observation behind the given link and returns its
// sequence. stream.ErrConflict means that the link is no longer the last.
func (c *Store) Append(ctx context.Context, u subject.Unit, behind Entry, o order.Observation, trace string) (uint64, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return 0, fmt.Errorf("encode observation: %w", err)
	}
	m := nats.NewMsg(u.Status())
	m.Data = body
	if trace != "" {
		m.Header.Set("traceparent", trace)
	}
	ack, err := c.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(behind.Sequence))
	if stream.IsConflict(err) {
		if err := stream.WaitAfterConflict(ctx, err); err != nil {
			return 0, fmt.Errorf("write observation: %w", err)
		}
		return 0, stream.ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("write observation: %w", err)
	}
	return ack.Sequence, nil
}
