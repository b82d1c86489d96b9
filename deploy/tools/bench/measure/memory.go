package measure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arauto/deploy/tools/bench/broker"
	"arauto/deploy/tools/bench/figures"
	"arauto/deploy/tools/bench/fleet"
	"arauto/deploy/tools/bench/load"
)

// fullLoad is how many connections are full load.
const fullLoad = 512

// memoryWindow is how long the gateway's memory is watched.
const memoryWindow = 20 * time.Second

// memory watches the gateway under full load.
func (b *bench) memory(ctx context.Context) (string, error) {
	store, err := b.Broker(ctx, broker.SyncAlways)
	if err != nil {
		return "", err
	}
	gateway, err := b.serve(ctx, ours, store)
	if err != nil {
		return "", err
	}
	before, err := b.served(ctx, gateway, store)
	if err != nil {
		return "", err
	}
	span := load.Span{Warm: b.Warm, For: b.window(memoryWindow)}
	b.say("memory: %d connections for %v", fullLoad, span.For)
	watching := watch(ctx, gateway, max(span.For/100, 100*time.Millisecond))
	c, err := b.drive(ctx, ours, gateway, store, load.Options{Connections: fullLoad, Span: span})
	sizes := watching()
	if err != nil {
		return "", err
	}
	after, took, err := settled(ctx, gateway, before, b.Settle)
	if err != nil {
		return "", err
	}
	t := figures.Table{Words: 1, Head: []string{
		"", "requests/s", "p99 ms", "memory MiB at 20 %, 60 %, end", "peak MiB", "goroutines before", "after", "s until then", "broker's peak MiB",
	}, Rows: [][]string{{
		fmt.Sprintf("%v", span.For), figures.Count(c.Rate()), figures.Millis(c.Accepted.P99),
		figures.MiB(part(sizes, 1)) + ", " + figures.MiB(part(sizes, 3)) + ", " + figures.MiB(part(sizes, 5)),
		figures.MiB(float64(gateway.Usage().Peak)), fmt.Sprint(before), fmt.Sprint(after), fmt.Sprintf("%.0f", took.Seconds()),
		figures.MiB(float64(c.brokerPeak)),
	}}}
	if bad := figures.Bad(c.Report); bad != "" {
		t.Rows[0][1] = bad
	}
	return fmt.Sprintf("**The gateway's memory at %d connections and full load**, `sync_interval: always`, %s.\n\n%s", fullLoad, b.staged(), t), nil
}

// served lets the gateway serve on one connection, after which it has all the
// goroutines that it keeps and at most one that still waits for a connection,
// and returns how many it has.
func (b *bench) served(ctx context.Context, gateway, store fleet.Server) (float64, error) {
	first, err := b.drive(ctx, ours, gateway, store, load.Options{Connections: 1, Span: load.Span{For: 100 * time.Millisecond}})
	if err != nil {
		return 0, err
	}
	if bad := figures.Bad(first.Report); bad != "" {
		return 0, errors.New("serve the first requests: " + bad)
	}
	return gateway.Gauge(ctx, "go_goroutines")
}

// watch reads the process's memory until the returned function is called,
// which returns what was read.
func watch(ctx context.Context, p fleet.Server, every time.Duration) func() []float64 {
	ctx, stop := context.WithCancel(ctx)
	read := make(chan []float64, 1)
	go func() {
		var sizes []float64
		for load.Pause(ctx, every) == nil {
			sizes = append(sizes, float64(p.Usage().RSS))
		}
		read <- sizes
	}()
	return func() []float64 {
		stop()
		return <-read
	}
}

// part is the median of a tenth of the sizes, before the given fifth ends.
func part(sizes []float64, fifth int) float64 {
	end := len(sizes) * fifth / 5
	return figures.Median(sizes[max(0, end-max(1, len(sizes)/10)):end])
}

// settled waits until the gateway has no more goroutines than before, or for
// the given time, and returns how many it has then. Fiber's server lets idle
// ones live for ten seconds and more.
func settled(ctx context.Context, gateway fleet.Server, before float64, settle time.Duration) (after float64, took time.Duration, err error) {
	for began := time.Now(); ; {
		after, err = gateway.Gauge(ctx, "go_goroutines")
		took = time.Since(began)
		if err != nil || after <= before || took > settle {
			return after, took, err
		}
		if err := load.Pause(ctx, 250*time.Millisecond); err != nil {
			return after, took, err
		}
	}
}
