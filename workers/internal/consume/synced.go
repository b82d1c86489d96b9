package consume

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
)

// batchHeader is the header that names the batch of a message.
const batchHeader = "Nats-Batch-Id"

// errGone means that the stream ends below a message that was delivered.
var errGone = errors.New("the stream has lost it")

// Synced tells which delivered messages of a stream the broker has synced. A single server
// delivers the messages of a batch before that (nats-server 2.15.3, server/stream.go,
// processJetStreamAtomicBatchMsg), and what a worker stores of a message that a power cut
// then takes away would name a message that does not exist. The same function keeps reads
// out until the batch is synced (isolateMu), so one read proves it for all messages up to
// the last one. Before it may go, check that messages are delivered once they are synced.
//
// It is not safe for concurrent use.
type Synced struct {
	Stream jetstream.Stream // Nil for a stream without batches.
	upTo   uint64           // What is synced is never lost, so this holds for good.
}

// Await waits until the batch that m was stored in is synced. After an error m must be
// returned to the broker, which redelivers it if it exists.
func (s *Synced) Await(ctx context.Context, m jetstream.Msg) error {
	if s.Stream == nil || m.Headers().Get(batchHeader) == "" || sequence(m) <= s.upTo {
		return nil
	}
	last, err := stream.Last(ctx, s.Stream, stream.All)
	if err == nil && last != nil {
		s.upTo = max(s.upTo, last.Sequence)
	}
	if sequence(m) <= s.upTo {
		return nil
	}
	err = cmp.Or(err, errGone)
	return fmt.Errorf("wait for the sync of message %d: %w", sequence(m), err)
}
