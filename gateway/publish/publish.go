// Package publish makes notifications durable. A Committer stores them on the
// NOTIFICATIONS stream by group commit, and RequireDurability trusts its result only
// where the broker was verified to keep what it confirms.
package publish

import "context"

// Message is one notification as it is stored. Its fields must not alias memory of the
// request: a message may be sent again after the request was answered.
type Message struct {
	ID      string // The broker's message id (Nats-Msg-Id); the stream stores an id once.
	Subject string
	Body    []byte // JSON.
}

// Publisher stores notifications. Store returns nil only when the message is durable.
// It returns at the latest when ctx ends or when the publish timeout has passed. Its
// errors wrap an Err value of this package where the cause is known; see Class.
type Publisher interface {
	Store(ctx context.Context, m Message) error
}
