package commit_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/stream"
)

// A worker appends to a payment's log behind the message that it read last.
func Example() {
	nc, err := nats.Connect("nats://127.0.0.1:4222", nats.ReconnectBufSize(-1), nats.MaxReconnects(-1))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	c, err := commit.New(nc, commit.Options{Stream: "STATUSES", GroupCommit: func() bool { return true }})
	if err != nil {
		fmt.Println(err)
		return
	}
	stored, err := c.Store(context.Background(), commit.Message{
		Subject: "statuses.acme.main.p1", Body: []byte(`{}`), Guard: &commit.Guard{Last: 41},
	})
	switch {
	case err == nil:
		fmt.Println("durable at", stored.Sequence)
	case errors.Is(err, stream.ErrConflict):
		fmt.Println("read the log: another writer was first, or an earlier attempt is stored")
	case errors.Is(err, commit.ErrOverloaded):
		fmt.Println("not stored: try again later")
	default: // For example commit.ErrTimeout.
		fmt.Println("it may be stored")
	}
}
