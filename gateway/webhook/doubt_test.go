package webhook_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/gateway/webhook"
	"arauto/schemas/subject"
)

// batched are the ids that the stream has from atomic batches.
func (c *committer) batched() map[string]bool {
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

// TestBatchInFlightAtADisconnectIsNotConfirmedAsDuplicate is about a batch whose
// sync failed, and whose connection then broke: nats-server 2.15.3
// (server/stream.go, processJetStreamAtomicBatchMsg) sends no confirmation of such a
// batch, yet keeps its ids for duplicates. Here its confirmation is lost.
func TestBatchInFlightAtADisconnectIsNotConfirmedAsDuplicate(t *testing.T) {
	t.Parallel()
	atEach(t, func(t *testing.T, group func(func(*webhook.PublisherOptions)) *committer) {
		c := group(func(o *webhook.PublisherOptions) { o.ReconnectGrace = 10 * time.Second })
		c.wire.lose.Store(1)
		all := messages(200)
		wait := c.storeAll(t.Context(), all...)
		until(t, func() bool { return c.wire.lose.Load() == 0 })
		batched := c.batched()
		c.wire.cut()
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
		until(t, func() bool { return c.Store(t.Context(), message(1000)) == nil })
	})
}
