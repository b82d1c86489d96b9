// Package publish makes notifications durable. Notifications stores them on the
// NOTIFICATIONS stream by group commit. RequireDurability confirms a notification only if
// the broker was verified to keep what it acks.
package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/wait"
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
	Up          func() bool           // Whether the broker is connected: see commit.Options.
	Registerer  prometheus.Registerer // Nil for no metrics.
}

// Notifications is the Publisher on the NOTIFICATIONS stream.
type Notifications struct {
	*commit.Committer
	nc      *nats.Conn
	js      jetstream.JetStream
	full    fullness
	timeout time.Duration
}

// New returns Notifications on nc, which must be made as commit.New says.
func New(nc *nats.Conn, o Options) (*Notifications, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	m := newMetrics()
	c, err := commit.New(nc, commit.Options{
		Stream: subject.Notifications, Timeout: o.Timeout, GroupCommit: o.GroupCommit, Up: o.Up,
		Batched:   func(messages int) { m.batches.Observe(float64(messages)) },
		FellApart: func(messages int) { m.fallbacks.Add(float64(messages)) },
	})
	if err == nil && o.Registerer != nil {
		err = m.register(o.Registerer, c.Pending)
	}
	if err != nil {
		return nil, err
	}
	return &Notifications{Committer: c, nc: nc, js: js, timeout: cmp.Or(o.Timeout, commit.DefaultTimeout)}, nil
}

// unheardAgain is the pause before a message that no stream heard is sent again, and
// unheardTries how often it is sent. While it reloads its configuration nats-server 2.15.3
// first removes and then makes the imports of an account (configureAccounts of
// server/server.go), so that for less than a millisecond nothing hears the gateway. The
// pause is a guess.
const (
	unheardAgain = 10 * time.Millisecond
	unheardTries = 8
)

// Store stores m. It returns nil only when the stream has stored m, or had stored its id
// before.
func (n *Notifications) Store(ctx context.Context, m Message) error {
	started := time.Now()
	_, err := n.Committer.Store(ctx, m)
	if errors.Is(err, nats.ErrNoResponders) {
		err = n.storeAgain(ctx, m, n.timeout-time.Since(started), err)
	}
	n.full.observe(err)
	if err != nil {
		return fmt.Errorf("store notification: %w", err)
	}
	return nil
}

// storeAgain stores a message that no stream heard, within what is left of its timeout.
func (n *Notifications) storeAgain(ctx context.Context, m Message, left time.Duration, err error) error {
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	for try := 1; errors.Is(err, nats.ErrNoResponders) && try < unheardTries && wait.For(ctx, unheardAgain); try++ {
		_, err = n.Committer.Store(ctx, m)
	}
	return err
}
