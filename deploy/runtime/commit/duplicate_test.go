package commit_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/commit"
	"arauto/schemas/subject"
)

// batched returns the ids of the messages that the stream has from atomic batches.
func (c *bench) batched() map[string]bool {
	c.t.Helper()
	ids := map[string]bool{}
	stream, err := c.broker.JS.Stream(c.t.Context(), subject.Notifications)
	if err != nil {
		c.t.Fatal(err)
	}
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(c.t.Context(), seq)
		if err != nil {
			c.t.Fatal(err)
		}
		if m.Header.Get(server.JSBatchId) != "" {
			ids[m.Header.Get(jetstream.MsgIDHeader)] = true
		}
	}
	return ids
}

// TestDuplicateAckIsNoProofOfABatchThatWasDisconnected is about a batch whose sync failed
// and whose connection then broke. Here the ack of the batch is lost. See expireBatch.
func TestDuplicateAckIsNoProofOfABatchThatWasDisconnected(t *testing.T) {
	t.Parallel()
	atEachThreshold(t, func(t *testing.T, start func(func(*commit.Options)) *bench) {
		c := start(func(o *commit.Options) { o.ReconnectGrace = 10 * time.Second })
		c.wire.LoseBatchAcks.Store(1)
		all := messages(200)
		wait := c.storeAll(t.Context(), all...)
		until(t, func() bool { return c.wire.LoseBatchAcks.Load() == 0 })
		batched := c.batched()
		c.wire.Cut()
		unconfirmed := 0
		for i, err := range wait() {
			if err != nil {
				unconfirmed++
			} else if batched[all[i].ID] {
				t.Errorf("message %d of the batch is confirmed", i)
			}
		}
		if unconfirmed == 0 {
			t.Error("every message is confirmed, so this shows nothing")
		}
		until(t, func() bool { return c.store(t.Context(), message(1000)) == nil })
	})
}
