package topology

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// awaitEvery is how often a role looks whether what it needs is there.
const awaitEvery = 500 * time.Millisecond

// Await blocks until the named streams and durable consumers exist and bind, which opens
// what the role works with, has succeeded. It logs every field in which they differ from
// the declaration. So a role that starts before the topology was applied becomes ready by
// itself.
//
// The broker may disconnect at any moment, also between two requests of bind, so bind is
// run again from its beginning until all of it succeeds. It must only send requests to the
// broker: another kind of error would be retried for ever. Each reason to wait is logged
// once. Only the end of ctx, or a connection that was closed for good, ends Await early.
func Await(ctx context.Context, js jetstream.JetStream, s Settings, log *zap.Logger,
	streams, consumers []string, bind func(ctx context.Context) error,
) error {
	needed := slices.DeleteFunc(Streams(s), func(c jetstream.StreamConfig) bool { return !slices.Contains(streams, c.Name) })
	durables := slices.DeleteFunc(Consumers(s), func(c Consumer) bool { return !slices.Contains(consumers, c.Durable) })
	ticker := time.NewTicker(awaitEvery)
	defer ticker.Stop()
	said := ""
	for {
		drift, err := diff(ctx, js, needed, durables)
		missing := slices.IndexFunc(drift, func(d Drift) bool { return d.Field == "" })
		if err == nil && missing < 0 {
			if err = bind(ctx); err == nil {
				for _, d := range drift {
					log.Warn("topology.drift_found", zap.String("next", "arauto topology diff"), zap.String("drift", d.String()))
				}
				return nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, nats.ErrConnectionClosed):
			return err
		case err != nil && said != err.Error():
			said = err.Error()
			log.Warn("broker.awaited", zap.Error(err))
		case err == nil && said != drift[missing].String():
			said = drift[missing].String()
			log.Warn("topology.awaited", zap.String("next", "arauto topology apply"), zap.String("drift", said))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
