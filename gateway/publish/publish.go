// Package publish makes notifications durable. Notifications stores them on the
// NOTIFICATIONS stream by group commit. RequireDurability confirms a notification only if
// the broker was verified to keep what it acks.
package publish

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/commit"
	"arauto/schemas/subject"
)

// Message is one notification as it is stored.
type Message = commit.Message

// Publisher stores notifications. Store returns nil only when the message is durable.
// It returns at the latest when ctx ends or when the publish timeout has passed. Its
// errors wrap an Err value of this package or of commit where the cause is known; see
// Class.
type Publisher interface {
	Store(ctx context.Context, m Message) error
}

// Options configure Notifications. The zero value of each field means its default.
type Options struct {
	Timeout     time.Duration         // The publish timeout: see commit.Options.
	GroupCommit func() bool           // See commit.Options.
	Registerer  prometheus.Registerer // Nil for no metrics.
}

// Notifications is the Publisher on the NOTIFICATIONS stream.
type Notifications struct {
	*commit.Committer
	nc   *nats.Conn
	js   jetstream.JetStream
	full fullness
}

// New returns Notifications on nc, which must be made as commit.New says.
func New(nc *nats.Conn, o Options) (*Notifications, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	m := newMetrics()
	c, err := commit.New(nc, commit.Options{
		Stream: subject.Notifications, Timeout: o.Timeout, GroupCommit: o.GroupCommit,
		Batched:   func(messages int) { m.batches.Observe(float64(messages)) },
		FellApart: func(messages int) { m.fallbacks.Add(float64(messages)) },
	})
	if err == nil && o.Registerer != nil {
		err = m.register(o.Registerer, c.Pending)
	}
	if err != nil {
		return nil, err
	}
	return &Notifications{Committer: c, nc: nc, js: js}, nil
}

// Store stores m. It returns nil only when the stream has stored m, or had stored its id
// before.
func (n *Notifications) Store(ctx context.Context, m Message) error {
	_, err := n.Committer.Store(ctx, m)
	n.full.observe(err)
	if err != nil {
		return fmt.Errorf("store notification: %w", err)
	}
	return nil
}
