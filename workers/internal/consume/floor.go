package consume

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// AckFloor returns the stream sequence up to which a consumer's messages are all
// acknowledged, 0 for a consumer that does not exist: it will get all of them.
func AckFloor(ctx context.Context, js jetstream.JetStream, stream, consumer string) (uint64, error) {
	c, err := js.Consumer(ctx, stream, consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read consumer %s: %w", consumer, err)
	}
	return c.CachedInfo().AckFloor.Stream, nil
}
