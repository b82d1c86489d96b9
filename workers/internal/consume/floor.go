package consume

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// AckFloor returns the stream sequence up to which a consumer's messages are all
// acknowledged.
func AckFloor(ctx context.Context, js jetstream.JetStream, stream, consumer string) (uint64, error) {
	c, err := js.Consumer(ctx, stream, consumer)
	if err != nil {
		return 0, fmt.Errorf("read consumer %s: %w", consumer, err)
	}
	return c.CachedInfo().AckFloor.Stream, nil
}
