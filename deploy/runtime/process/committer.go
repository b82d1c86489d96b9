package process

import (
	"time"

	"arauto/deploy/runtime/commit"
)

// storeTimeout is how long a worker's message may take to be stored; jetstream's own
// default for a publish. The message that led to it is redelivered after that.
const storeTimeout = 5 * time.Second

// Committer stores a worker's messages on a stream, each by itself. It makes no batches:
// nats-server 2.15.3 (server/stream.go, processJetStreamAtomicBatchMsg) shows the messages
// of a batch to consumers before it syncs them, so on one replica normalize folded
// observations that a power cut then took away, and ORDERS named what STATUSES did not have.
// Before workers may batch, check that a batch is synced before its messages are delivered.
func (k *Kit) Committer(stream string) (*commit.Committer, error) {
	return commit.New(k.NATS, commit.Options{Stream: stream, Timeout: storeTimeout})
}
