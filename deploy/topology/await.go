package topology

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// awaitEvery is how often a role looks whether what it needs is there.
const awaitEvery = 500 * time.Millisecond

// Await blocks until the named streams and durable consumers exist, and logs
// every field in which they differ from the declaration. It goes on through
// an unreachable broker; only ctx ends it early. A role that starts before the
// topology was applied so becomes ready by itself.
func Await(ctx context.Context, js jetstream.JetStream, s Settings, log *zap.Logger, streams, consumers []string) error {
	needed := slices.DeleteFunc(Streams(s), func(c jetstream.StreamConfig) bool { return !slices.Contains(streams, c.Name) })
	durables := slices.DeleteFunc(Consumers(s), func(c Consumer) bool { return !slices.Contains(consumers, c.Durable) })
	ticker := time.NewTicker(awaitEvery)
	defer ticker.Stop()
	said := ""
	for {
		drift, err := diff(ctx, js, needed, durables)
		missing := slices.IndexFunc(drift, func(d Drift) bool { return d.Field == "" })
		switch {
		case err == nil && missing < 0:
			for _, d := range drift {
				log.Warn("topology drift, run: arauto topology diff", zap.String("drift", d.String()))
			}
			return nil
		case err != nil && said != err.Error():
			said = err.Error()
			log.Warn("waiting for the broker", zap.Error(err))
		case err == nil && said != drift[missing].String():
			said = drift[missing].String()
			log.Warn("waiting for the topology, run: arauto topology apply", zap.String("drift", said))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
