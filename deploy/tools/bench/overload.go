package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/tools/bench/load"
	"arauto/schemas/subject"
)

// fullLoad is how many connections are the gateway's full load: more of them
// only wait longer.
const fullLoad = 512

// memory watches the gateway's memory under full load, once, in a window that
// is long enough to show growth.
func (b *bench) memory(ctx context.Context) (string, error) {
	o := b.schedule(20 * time.Second)
	b.say("memory: %d connections for %v", fullLoad, o.For)
	c, err := b.cell(ctx, arauto, fullLoad, o)
	if err != nil {
		return "", err
	}
	return b.titled(fmt.Sprintf("The gateway's memory at %d connections and full load", fullLoad), o.For, 1, []string{
		"requests/s", "p99 ms", "MiB as the window begins", "as it ends", "peak", "not 200",
	}, []string{number(c.Rate()), number(c.P99()), number(c.begin), number(c.end), number(c.peak), c.Others()}), nil
}

// overloadFactor times the capacity is an overload.
const overloadFactor = 3

// overloadLag is how late a request of an overload may be sent. The load
// shares the machine, and what it cannot send says nothing of the gateway.
const overloadLag = 100 * time.Millisecond

// overloaded is one round of overload.
type overloaded struct {
	cell
	capacity   float64 // Requests per second.
	lost, more int     // Payments with a 200 that are not stored, and the other way round.
}

// overload offers a multiple of the capacity from a crowd of connections, and
// compares the accepted payments with the stored ones.
func (b *bench) overload(ctx context.Context) (string, error) {
	var rounds []overloaded
	var lost int
	o := b.schedule(usualWindow)
	for range b.rounds {
		r, err := b.overloadOnce(ctx, o)
		if err != nil {
			return "", err
		}
		b.say("overload of %s/s, %s/s accepted, %d lost  %s", number(r.capacity), number(r.Rate()), r.lost, r.others())
		lost += r.lost
		rounds = append(rounds, r)
	}
	column := func(value func(overloaded) float64) string { return spread(each(rounds, value)) }
	return b.titled(fmt.Sprintf("Overload of %d times the capacity from %d connections, timed from when a request was sent", overloadFactor, b.crowd),
		o.For, b.rounds, []string{
			"capacity/s", "200/s", "p99 ms", "503/s", "p99 ms", "other answers, errors", "200 but not stored", "stored without a 200",
		}, []string{
			column(func(r overloaded) float64 { return r.capacity }),
			column(overloaded.Rate),
			column(func(r overloaded) float64 { return r.Service.Millis(99) }),
			column(func(r overloaded) float64 { return float64(r.Refused.TotalCount()) / r.Window.Seconds() }),
			column(func(r overloaded) float64 { return r.Refused.Millis(99) }),
			joined(rounds, overloaded.others), fmt.Sprint(lost), column(func(r overloaded) float64 { return float64(r.more) }),
		}), nil
}

// others are the outcomes that an overload should not have.
func (r overloaded) others() string { return r.Others("503", load.NotSent) }

// capacityTries is how often the capacity is measured until something is accepted: one slow
// sync takes longer than the short windows of a test. A guess.
const capacityTries = 3

// overloadOnce measures the capacity and then the overload.
func (b *bench) overloadOnce(ctx context.Context, o load.Options) (r overloaded, err error) {
	var full cell
	for try := 0; try < capacityTries && r.capacity == 0; try++ {
		if full, err = b.cell(ctx, arauto, fullLoad, o); err != nil {
			return r, err
		}
		r.capacity = full.Rate()
	}
	if r.capacity == 0 {
		return r, errors.New("the gateway accepts nothing: " + full.Others())
	}
	o.Rate, o.MaxLag, o.Keep = overloadFactor*r.capacity, overloadLag, true
	if r.cell, err = b.cell(ctx, arauto, b.crowd, o); err != nil {
		return r, err
	}
	r.lost, r.more, err = audit(ctx, r.broker, r.Payments)
	return r, err
}

// audit counts the accepted payments that are not stored, and the stored ones
// that were not accepted, whose answer was another one or never arrived.
func audit(ctx context.Context, broker string, accepted []load.Payment) (lost, more int, err error) {
	js, err := connect(broker)
	if err != nil {
		return 0, 0, err
	}
	defer js.Conn().Close()
	stream, err := js.Stream(ctx, subject.Notifications)
	if err != nil {
		return 0, 0, fmt.Errorf("open stream: %w", err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter("notifications.>"))
	if err != nil {
		return 0, 0, fmt.Errorf("list stored payments: %w", err)
	}
	stored := map[string]bool{}
	for name := range info.State.Subjects {
		stored[name[strings.LastIndexByte(name, '.')+1:]] = true
	}
	for _, p := range accepted {
		if !stored[p.String()] {
			lost++
		}
		delete(stored, p.String())
	}
	return lost, len(stored), nil
}
