package process

import (
	"time"

	"arauto/deploy/runtime/commit"
)

// storeTimeout is how long a worker's message may take to be stored; jetstream's own
// default for a publish. The message that led to it is redelivered after that.
const storeTimeout = 5 * time.Second

// Committer stores a worker's messages on a stream by group commit. It batches wherever
// that takes less time, as measured on the connection. A single server delivers a batch's
// messages before it syncs them: workers wait for the sync (workers/internal/consume,
// Synced), and a subscriber that has read an event which a power cut took away reads it
// again with the same id, because the server takes every consumer back to the end of its
// stream (nats-server 2.15.3, server/consumer.go, reconcileStateWithStream).
func (k *Kit) Committer(stream string) (*commit.Committer, error) {
	return commit.New(k.NATS, commit.Options{
		Stream: stream, Timeout: storeTimeout, GroupCommit: func() bool { return true }, Up: k.Link.Up,
	})
}
