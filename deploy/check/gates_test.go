package check_test

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/workers/circuit"
	"arauto/workers/lookup/observe"
	"arauto/workers/outage"
)

// gates are those of lookup, impatient, so that one failure moves each.
func (f *flow) gates(js jetstream.JetStream) observe.Gates {
	f.t.Helper()
	board, err := circuit.Open(f.ctx, js)
	f.must(err)
	const soon = 50 * time.Millisecond
	view, err := circuit.NewView(f.ctx, board, circuit.Options{
		First: soon, Longest: soon, Expiry: 10 * time.Second, Spread: soon, Name: "test", Now: time.Now,
	}, circuit.NewMetrics(prometheus.NewRegistry()), zap.NewNop())
	f.must(err)
	ctx, stop := context.WithCancel(f.ctx)
	done := make(chan error, 1)
	go func() { done <- view.Run(ctx) }()
	f.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			f.t.Errorf("circuits: %v", err)
		}
	})
	return observe.Gates{Circuits: view, Outage: outage.New(js, "sandbox",
		outage.Options{Failures: 1, Window: time.Minute, First: soon, Longest: soon},
		outage.NewMetrics(prometheus.NewRegistry()), zap.NewNop(), time.Now)}
}
