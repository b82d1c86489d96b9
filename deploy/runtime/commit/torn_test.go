package commit_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// TestBatchTornByACrashIsStoredOnce restarts the broker on the files that a crash during
// a commit leaves: the stream has the beginning of the batch, and the staged batch is
// lost. No caller got an ack, so the messages are stored again under the same ids.
func TestBatchTornByACrashIsStoredOnce(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	all := messages(200)
	allNil(t, c.storeBatched(all...))
	store := c.broker.Server.StoreDir()
	c.broker.Stop()
	tear(t, filepath.Join(store, server.DEFAULT_GLOBAL_ACCOUNT, "streams", subject.Notifications))
	c.broker.Restart()
	until(t, func() bool { return c.nc.IsConnected() && c.broker.NC.IsConnected() })
	kept := c.stored()
	last := c.last()
	if len(kept) == 0 || len(kept) == 200 || last.Header.Get(server.JSBatchId) == "" || last.Header.Get(server.JSBatchCommit) != "" {
		t.Fatalf("%d are left, the last with %v: that is no torn batch", len(kept), last.Header)
	}
	allNil(t, c.storeAll(t.Context(), all...)())
	c.storedOnce(all...)
}

// tear truncates the stream's only block, and removes its index and the staged batches.
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

// last returns the last message of the stream.
func (c *bench) last() *jetstream.RawStreamMsg {
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
