package measure

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/tools/bench/broker"
	"arauto/deploy/tools/bench/figures"
	"arauto/deploy/tools/bench/load"
	"arauto/schemas/subject"
)

// excess is how many times the capacity an overload is.
const excess = 3

// lag is how late a request of an overload may be sent. The generator has to
// share the machine too, and what it cannot send is not the gateway's fault.
const lag = 100 * time.Millisecond

// overload offers more than the gateway can take, from a crowd of connections.
func (b *bench) overload(ctx context.Context) (string, error) {
	if err := b.measureCapacity(ctx); err != nil {
		return "", err
	}
	store, err := b.Broker(ctx, broker.SyncAlways)
	if err != nil {
		return "", err
	}
	gateway, err := b.serve(ctx, ours, store)
	if err != nil {
		return "", err
	}
	rate := excess * b.capacity
	accepted := filepath.Join(b.Fleet.Dir, "accepted")
	b.say("overload: %s/s from %d connections", figures.Count(rate), b.Crowd)
	c, err := b.drive(ctx, ours, gateway, store, load.Options{
		Connections: b.Crowd, Rate: rate, Lag: lag, Accepted: accepted,
		Span: load.Span{Warm: b.Warm, For: b.window(standardWindow)},
	})
	if err != nil {
		return "", err
	}
	lost, more, err := audit(ctx, store.Address, accepted)
	if err != nil {
		return "", err
	}
	t := figures.Table{Words: 1, Head: []string{
		"capacity/s, offered/s", "sent/s", "200/s", "p50 ms", "p99 ms", "503/s", "p50 ms", "p99 ms", "other answers, errors", "200 but not stored", "stored without a 200",
	}, Rows: [][]string{overloaded(c, b.capacity, lost, more)}}
	return fmt.Sprintf("**Overload**: %d times the capacity from %d connections, `sync_interval: always`, %s; times from when a request was sent.\n\n%s",
		excess, b.Crowd, b.staged(), t), nil
}

// overloaded is the row of an overload.
func overloaded(c cell, capacity float64, lost, more int) []string {
	seconds := c.Window.Seconds()
	other := c.Report
	other.Late = 0
	other.Statuses = map[int]uint64{}
	for status, n := range c.Statuses {
		if status != 503 {
			other.Statuses[status] = n
		}
	}
	return []string{
		figures.Count(capacity) + ", " + figures.Count(excess*capacity),
		figures.Count(float64(c.Accepted.Count+c.Refused.Count) / seconds),
		figures.Count(c.Rate()), figures.Millis(c.Service.P50), figures.Millis(c.Service.P99),
		figures.Count(float64(c.Refused.Count) / seconds), figures.Millis(c.Refused.P50), figures.Millis(c.Refused.P99),
		strings.TrimPrefix(figures.Bad(other), "void: "), fmt.Sprint(lost), fmt.Sprint(more),
	}
}

// measureCapacity measures what the gateway can take, unless core has.
func (b *bench) measureCapacity(ctx context.Context) error {
	if b.capacity > 0 {
		return nil
	}
	b.say("overload: measuring the capacity")
	c, err := b.cell(ctx, ours, comparisons()[partCore], load.Options{
		Connections: fullLoad, Span: load.Span{Warm: b.Warm, For: max(b.window(standardWindow), time.Second)},
	})
	b.capacity = c.Rate()
	if err == nil && b.capacity == 0 {
		err = errors.New("the gateway accepts nothing: " + figures.Bad(c.Report))
	}
	return err
}

// audit compares the payments that were answered 200 with those that are
// stored: how many are not, and how many are stored beside them, because
// their answer was something else.
func audit(ctx context.Context, url, accepted string) (lost, more int, err error) {
	stored, err := payments(ctx, url)
	if err != nil {
		return 0, 0, err
	}
	file, err := os.Open(accepted)
	if err != nil {
		return 0, 0, fmt.Errorf("read accepted payments: %w", err)
	}
	defer file.Close() //nolint:errcheck // Nothing was written.
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if !stored[lines.Text()] {
			lost++
		}
		delete(stored, lines.Text())
	}
	return lost, len(stored), lines.Err()
}

// payments lists the payments of NOTIFICATIONS.
func payments(ctx context.Context, url string) (map[string]bool, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(30*time.Second))
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	stream, err := js.Stream(ctx, subject.Notifications)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject.AllNotifications))
	if err != nil {
		return nil, fmt.Errorf("list stored payments: %w", err)
	}
	all := make(map[string]bool, len(info.State.Subjects))
	for name := range info.State.Subjects {
		all[name[strings.LastIndexByte(name, '.')+1:]] = true
	}
	return all, nil
}
