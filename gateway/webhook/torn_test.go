package webhook_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// TestABatchThatACrashCutOffIsStoredOnce leaves the broker as a crash in the
// middle of a commit does that took what was staged with it: some of a batch is
// in the stream, its end and the stage are not. Nobody was told 200, so all of
// it comes again under the same ids.
func TestABatchThatACrashCutOffIsStoredOnce(t *testing.T) {
	t.Parallel()
	c := group(t, nil)
	all := messages(200)
	allNil(t, c.storeHeld(all...))
	store := c.broker.Server.StoreDir()
	c.broker.Stop()
	tear(t, filepath.Join(store, server.DEFAULT_GLOBAL_ACCOUNT, "streams", subject.Notifications))
	c.broker.Restart()
	until(t, func() bool { return c.nc.IsConnected() && c.broker.NC.IsConnected() })
	kept := c.stored()
	last := c.last()
	if len(kept) == 0 || len(kept) == 200 || last.Header.Get(server.JSBatchId) == "" || last.Header.Get(server.JSBatchCommit) != "" {
		t.Fatalf("%d are left, the last with %v: that is no batch that was cut off", len(kept), last.Header)
	}
	allNil(t, c.storeAll(t.Context(), all...)())
	c.once(all...)
}

// tear cuts the end of a stream's last block off, and with it what the broker
// remembers of the whole.
func tear(t *testing.T, stream string) {
	t.Helper()
	messages := filepath.Join(stream, "msgs")
	block := filepath.Join(messages, "1.blk")
	info, err := os.Stat(block)
	if err == nil {
		err = errors.Join(os.Truncate(block, info.Size()*2/3), os.RemoveAll(filepath.Join(messages, "index.db")), os.RemoveAll(filepath.Join(stream, "batches")))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// last is the last message of the stream.
func (c *committer) last() *jetstream.RawStreamMsg {
	c.t.Helper()
	stream, err := c.broker.JS.Stream(c.t.Context(), subject.Notifications)
	if err != nil {
		c.t.Fatal(err)
	}
	m, err := stream.GetMsg(c.t.Context(), stream.CachedInfo().State.LastSeq)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}
