package process

import (
	"time"

	"arauto/deploy/runtime/commit"
)

// storeTimeout is how long a worker's message may take to be stored; jetstream's own
// default for a publish. The message that led to it is redelivered after that.
const storeTimeout = 5 * time.Second

// Committer stores a worker's messages on a stream by group commit. It batches wherever
// that takes less time, as measured on the connection.
func (k *Kit) Committer(stream string) (*commit.Committer, error) {
	return commit.New(k.NATS, commit.Options{
		Stream: stream, Timeout: storeTimeout, GroupCommit: func() bool { return true }, Up: k.Link.Up,
	})
}
