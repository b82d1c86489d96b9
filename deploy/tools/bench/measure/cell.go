package measure

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"arauto/deploy/tools/bench/fleet"
	"arauto/deploy/tools/bench/load"
	"arauto/deploy/tools/bench/rival"
)

// system is what can be measured.
type system string

// The systems. Ours is the gateway's real binary.
const (
	ours     system = "Arauto"
	rivalA   system = "(a) Fiber, one publish each"
	rivalB   system = "(b) net/http, one publish each"
	limitC   system = "(c) Arauto's publisher, no HTTP"
	nothingD system = "(d) Fiber, no publish"
)

// rivals are the names of the rivals' programs.
var rivals = map[system]string{rivalA: rival.FiberPublish, rivalB: rival.HTTPPublish, nothingD: rival.FiberOnly}

// cell is one measurement. CPU times are those of the window.
type cell struct {
	load.Report
	server, broker, load time.Duration // CPU.
	serverPeak           int64         // Bytes; limit (c) is its own server.
	brokerPeak           int64
}

// perThousand is a CPU time in seconds per 1,000 accepted requests.
func (c cell) perThousand(d time.Duration) float64 {
	return d.Seconds() * 1000 / float64(max(c.Accepted.Count, 1))
}

// share is the generator's part of all CPU time, from 0 to 1.
func (c cell) share() float64 {
	all := c.server + c.broker + c.load
	if all <= 0 {
		return 0
	}
	return float64(c.load) / float64(all)
}

// cell measures a system on a new broker with an empty store.
func (b *bench) cell(ctx context.Context, s system, k comparison, o load.Options) (cell, error) {
	broker, err := b.store(ctx, k)
	if err != nil {
		return cell{}, err
	}
	defer broker.End()
	server, err := b.serve(ctx, s, broker)
	if err != nil {
		return cell{}, err
	}
	if s != limitC {
		defer server.End()
	}
	return b.drive(ctx, s, server, broker, o)
}

// store starts the broker of a comparison.
func (b *bench) store(ctx context.Context, k comparison) (fleet.Server, error) {
	if k.files {
		return b.BrokerOnDisk(ctx, k.sync)
	}
	return b.Broker(ctx, k.sync)
}

// serve starts what answers in a system; nothing for limit (c).
func (b *bench) serve(ctx context.Context, s system, broker fleet.Server) (fleet.Server, error) {
	if s == limitC {
		return fleet.Server{}, nil
	}
	if s != ours {
		return b.Rival(ctx, rivals[s], broker)
	}
	config, err := b.Configure(broker, fleet.Server{})
	if err != nil {
		return fleet.Server{}, err
	}
	return b.Gateway(ctx, config)
}

// drive runs the load and reads at the begin and the end of its window what
// the others have used.
func (b *bench) drive(ctx context.Context, s system, server, broker fleet.Server, o load.Options) (cell, error) {
	args := append([]string{"load", "-address", server.Address}, arguments(o)...)
	if s == limitC {
		args = append([]string{"limit", "-broker", broker.Address}, arguments(o)...)
	}
	p, err := b.Fleet.Self(ctx, args...)
	if err != nil {
		return cell{}, err
	}
	defer p.End()
	if s == limitC {
		server.Process = p
	}
	var c cell
	err = p.Lines(ctx, func(string) {
		now, behind := server.Usage(), broker.Usage()
		c.server, c.broker = now.CPU-c.server, behind.CPU-c.broker // At the end, what was used since the begin.
		c.serverPeak, c.brokerPeak = now.Peak, behind.Peak
	}, &c.Report)
	if err != nil {
		return cell{}, err
	}
	if s != limitC {
		c.load = c.Report.CPU
	}
	return c, nil
}

// arguments are the flags that say what a load is.
func arguments(o load.Options) []string {
	return slices.Concat(
		[]string{"-connections", strconv.Itoa(o.Connections), "-warm", o.Span.Warm.String(), "-for", o.Span.For.String()},
		[]string{"-per-connection", strconv.Itoa(o.PerConnection), "-rate", fmt.Sprint(o.Rate), "-lag", o.Lag.String()},
		[]string{"-group", fmt.Sprint(o.Group), "-accepted", o.Accepted},
	)
}
