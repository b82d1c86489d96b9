package process

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/stream"
)

const (
	// readingLife is how long the numbers of one scrape serve the next ones: a
	// dashboard and an alerting rule must not double the broker's work.
	readingLife = 2 * time.Second
	// readingTimeout bounds one round of requests to the broker. Prometheus itself gives up
	// after ten seconds.
	readingTimeout = 1500 * time.Millisecond
)

// ConsumerName names a durable consumer.
type ConsumerName struct{ Stream, Consumer string }

// ConsumerCollector exports what JetStream itself says about durable
// consumers, labelled stream and consumer: arauto_consumer_pending_messages,
// _ack_pending_messages, _redelivered_messages, _waiting_requests, _paused (0
// or 1) and _oldest_age_seconds, the age of the oldest message that is not
// acknowledged yet (0 when there is none). A consumer that cannot be read has
// no numbers, and counts in arauto_consumer_scrape_errors_total while it must be there.
type ConsumerCollector struct {
	js     jetstream.JetStream
	all    []measured
	failed *prometheus.CounterVec

	mu       sync.Mutex // Held while reading, which is bounded.
	readings []reading
	readAt   time.Time
}

// measured is a consumer, and whether it must be there now.
type measured struct {
	name   ConsumerName
	wanted func() bool
}

// reading is what was read of one consumer; info is nil when that failed.
type reading struct {
	measured
	info *jetstream.ConsumerInfo
	age  time.Duration
}

// gauge is one exported number.
type gauge struct {
	desc  *prometheus.Desc
	value func(reading) float64
}

// NewConsumerCollector returns the collector of the named consumers. It asks
// the broker only when it is scraped; the connection's user needs the
// consumer's and stream's info and the stream's message get.
func NewConsumerCollector(js jetstream.JetStream, names []ConsumerName) *ConsumerCollector {
	c := &ConsumerCollector{js: js}
	c.failed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "arauto_consumer_scrape_errors_total",
		Help: "Scrapes without the numbers of a durable consumer, because the broker did not say them.",
	}, []string{"stream", "consumer"})
	for _, n := range names {
		c.Add(n, func() bool { return true })
	}
	return c
}

// Add adds a consumer. From now on it counts as an error that it cannot be read, while wanted
// says that it must be there.
func (c *ConsumerCollector) Add(n ConsumerName, wanted func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all, c.readAt = append(c.all, measured{n, wanted}), time.Time{}
	c.failed.WithLabelValues(n.Stream, n.Consumer) // A counter that is there from the start can be alerted on.
}

func gauges() []gauge {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("arauto_consumer_"+name, help, []string{"stream", "consumer"}, nil)
	}
	return []gauge{
		{desc("pending_messages", "Messages that the consumer has not been given yet."), func(r reading) float64 { return float64(r.info.NumPending) }},
		{desc("ack_pending_messages", "Messages that it has been given and has not acknowledged."), func(r reading) float64 { return float64(r.info.NumAckPending) }},
		{desc("redelivered_messages", "Messages among them that it has been given more than once."), func(r reading) float64 { return float64(r.info.NumRedelivered) }},
		{desc("waiting_requests", "Pull requests that wait for messages."), func(r reading) float64 { return float64(r.info.NumWaiting) }},
		{desc("paused", "1 while the consumer is paused."), func(r reading) float64 {
			if r.info.Paused {
				return 1
			}
			return 0
		}},
		{desc("oldest_age_seconds", "Age of the oldest message that is not acknowledged, 0 when there is none."), func(r reading) float64 { return r.age.Seconds() }},
	}
}

// Describe implements prometheus.Collector.
func (c *ConsumerCollector) Describe(out chan<- *prometheus.Desc) {
	for _, g := range gauges() {
		out <- g.desc
	}
	c.failed.Describe(out)
}

// Collect implements prometheus.Collector. It returns within about two
// seconds, whatever the broker does.
func (c *ConsumerCollector) Collect(out chan<- prometheus.Metric) {
	readings := c.read()
	for _, r := range readings {
		if r.info == nil && r.wanted() { // Also of a reading that serves several scrapes: each lacks the numbers.
			c.failed.WithLabelValues(r.name.Stream, r.name.Consumer).Inc()
		}
	}
	for _, g := range gauges() {
		for _, r := range readings {
			if r.info != nil {
				out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(r), r.name.Stream, r.name.Consumer)
			}
		}
	}
	c.failed.Collect(out)
}

// read asks about all consumers at once, unless it has just done so.
func (c *ConsumerCollector) read() []reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.readAt.IsZero() && time.Since(c.readAt) < readingLife {
		return c.readings
	}
	ctx, cancel := context.WithTimeout(context.Background(), readingTimeout)
	defer cancel()
	readings := make([]reading, len(c.all))
	var asking sync.WaitGroup
	for i, m := range c.all {
		asking.Go(func() {
			r, err := c.ask(ctx, m)
			if err != nil {
				r = reading{measured: m}
			}
			readings[i] = r
		})
	}
	asking.Wait()
	c.readings, c.readAt = readings, time.Now()
	return readings
}

func (c *ConsumerCollector) ask(ctx context.Context, m measured) (reading, error) {
	name := m.name
	consumer, err := c.js.Consumer(ctx, name.Stream, name.Consumer)
	if err != nil {
		return reading{}, fmt.Errorf("read consumer %s: %w", name.Consumer, err)
	}
	r := reading{measured: m, info: consumer.CachedInfo()}
	if r.info.NumPending == 0 && r.info.NumAckPending == 0 {
		return r, nil
	}
	of, err := c.js.Stream(ctx, name.Stream)
	if err != nil {
		return reading{}, fmt.Errorf("open stream %s: %w", name.Stream, err)
	}
	r.age, err = stream.OldestAge(ctx, of, r.info)
	return r, err
}
