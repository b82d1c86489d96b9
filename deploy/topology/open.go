package topology

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Open runs open, which finds streams and consumers and reads from them, until
// it has not met a broker that is away. The broker may go at any moment, also
// between Await and the first read, and a role that ends by itself then is one
// more thing to go wrong. Any other error, and the end of ctx, end it.
//
// open may run several times, so it must not register anything.
func Open(ctx context.Context, log *zap.Logger, open func(ctx context.Context) error) error {
	ticker := time.NewTicker(awaitEvery)
	defer ticker.Stop()
	said := ""
	for {
		err := open(ctx)
		if err == nil || ctx.Err() != nil || !Away(err) {
			return err
		}
		if said != err.Error() {
			said = err.Error()
			log.Warn("waiting for the broker", zap.Error(err))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Away reports whether an error means that the broker, or the leader of a
// stream, cannot be reached now: asking again later may succeed.
func Away(err error) bool {
	for _, away := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrDisconnected, nats.ErrConnectionReconnecting,
		nats.ErrReconnectBufExceeded, nats.ErrNoResponders, nats.ErrNoServers,
		jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled,
	} {
		if errors.Is(err, away) {
			return true
		}
	}
	var refused *jetstream.APIError
	return errors.As(err, &refused) && refused.Code == http.StatusServiceUnavailable
}
