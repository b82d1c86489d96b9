package commit

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Appender stores messages: a Committer, or Direct for a process that stores few.
type Appender interface {
	Store(ctx context.Context, m Message) (Receipt, error)
}

// Direct stores each message by itself, on whatever stream has its subject.
type Direct struct{ JS jetstream.JetStream }

// Store is Committer.Store without batches. Its errors are classified as there.
func (d Direct) Store(ctx context.Context, m Message) (Receipt, error) {
	if m.ID == "" && m.Guard == nil {
		return Receipt{}, errNeither
	}
	ack, err := d.JS.PublishMsg(ctx, &nats.Msg{Subject: m.Subject, Data: m.Body, Header: m.headers()})
	if err != nil {
		return Receipt{}, Classify(err)
	}
	return Receipt{Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
}
