package process

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/testbench"
)

// scrape gathers the collector's metrics as name{consumer} to value.
func scrape(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	testbench.Must(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			name := fmt.Sprintf("%s{%s/%s}", strings.TrimPrefix(f.GetName(), "arauto_consumer_"), labels["stream"], labels["consumer"])
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return values
}

func expect(t *testing.T, got map[string]float64, want map[string]float64) {
	t.Helper()
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s is %v (there: %v), want %v", name, v, ok, value)
		}
	}
}

func TestCollectorTellsWhatTheConsumerHasToDo(t *testing.T) {
	t.Parallel()
	_, js := testbench.Connect(t, broker(t, nil).ClientURL())
	ctx := t.Context()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	testbench.Must(t, err)
	for _, c := range []jetstream.ConsumerConfig{
		{Durable: "some", FilterSubjects: []string{"s.a", "s.b"}, AckPolicy: jetstream.AckExplicitPolicy},
		{Durable: "idle", FilterSubject: "s.none", AckPolicy: jetstream.AckExplicitPolicy},
		{Durable: "all", AckPolicy: jetstream.AckExplicitPolicy},
	} {
		if _, err := stream.CreateConsumer(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"s.other", "s.a", "s.b", "s.a", "s.other"} {
		if _, err := js.Publish(ctx, subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stream.PauseConsumer(ctx, "all", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	second, err := stream.GetMsg(ctx, 2)
	testbench.Must(t, err)
	some, err := stream.Consumer(ctx, "some")
	testbench.Must(t, err)
	batch, err := some.Fetch(3, jetstream.FetchMaxWait(longest))
	testbench.Must(t, err)
	var held []jetstream.Msg
	for m := range batch.Messages() {
		held = append(held, m)
	}
	testbench.Must(t, held[0].Nak())
	again, err := some.Next(jetstream.FetchMaxWait(longest))
	testbench.Must(t, err)

	names := []ConsumerName{{"S", "some"}, {"S", "idle"}, {"S", "all"}, {"S", "missing"}, {"MISSING", "x"}}
	before := time.Since(second.Time).Seconds()
	got := scrape(t, NewConsumerCollector(js, names))
	after := time.Since(second.Time).Seconds()
	expect(t, got, map[string]float64{
		"pending_messages{S/some}": 0, "ack_pending_messages{S/some}": 3, "redelivered_messages{S/some}": 1, "waiting_requests{S/some}": 0, "paused{S/some}": 0,
		"pending_messages{S/idle}": 0, "ack_pending_messages{S/idle}": 0, "oldest_age_seconds{S/idle}": 0,
		"pending_messages{S/all}": 5, "paused{S/all}": 1,
		"scrape_errors_total{S/some}": 0, "scrape_errors_total{S/missing}": 1, "scrape_errors_total{MISSING/x}": 1,
	})
	if age := got["oldest_age_seconds{S/some}"]; age < before || age > after {
		t.Errorf("the oldest is %v s old, want %v to %v", age, before, after)
	}
	if age := got["oldest_age_seconds{S/all}"]; age < before {
		t.Errorf("without a filter the oldest is %v s old, want at least %v", age, before)
	}
	if _, ok := got["pending_messages{S/missing}"]; ok {
		t.Error("a consumer that does not exist has numbers")
	}

	for _, m := range []jetstream.Msg{again, held[1]} {
		testbench.Must(t, m.DoubleAck(ctx))
	}
	fourth, err := stream.GetMsg(ctx, 4)
	testbench.Must(t, err)
	got = scrape(t, NewConsumerCollector(js, names))
	if age := got["oldest_age_seconds{S/some}"]; age <= 0 || age > time.Since(fourth.Time).Seconds() {
		t.Errorf("after two acknowledgements the oldest is %v s old", age)
	}
	testbench.Must(t, held[2].DoubleAck(ctx))
	expect(t, scrape(t, NewConsumerCollector(js, names)), map[string]float64{
		"pending_messages{S/some}": 0, "ack_pending_messages{S/some}": 0, "oldest_age_seconds{S/some}": 0,
	})
}

func TestCollectorAsksOnceForScrapesThatFollowEachOther(t *testing.T) {
	t.Parallel()
	conn, js := testbench.Connect(t, broker(t, nil).ClientURL())
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	testbench.Must(t, err)
	if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	c := NewConsumerCollector(js, []ConsumerName{{"S", "c"}})
	c.read()
	c.Add(ConsumerName{"S", "missing"}, func() bool { return true })
	expect(t, scrape(t, c), map[string]float64{"pending_messages{S/c}": 0, "scrape_errors_total{S/missing}": 1})
	sent := conn.Stats().OutMsgs
	c.read()
	if now := conn.Stats().OutMsgs; now != sent {
		t.Errorf("a second scrape sent %d messages", now-sent)
	}
	c.readAt = c.readAt.Add(-readingLife)
	c.read()
	if now := conn.Stats().OutMsgs; now == sent {
		t.Error("old numbers are never read again")
	}
}

// A reload may take back what made a consumer necessary before it was made.
func TestMissingConsumerIsAnErrorWhileItIsWanted(t *testing.T) {
	t.Parallel()
	_, js := testbench.Connect(t, broker(t, nil).ClientURL())
	c, wanted := NewConsumerCollector(js, nil), false
	c.Add(ConsumerName{"S", "missing"}, func() bool { return wanted })
	for _, step := range []struct {
		wanted bool
		errors float64
	}{{false, 0}, {true, 1}, {true, 2}, {false, 2}} {
		wanted = step.wanted
		expect(t, scrape(t, c), map[string]float64{"scrape_errors_total{S/missing}": step.errors})
	}
}

func TestCollectorNeverWaitsForADeafBroker(t *testing.T) {
	t.Parallel()
	// A broker without JetStream, and a subscriber that takes every question and
	// answers none: the worst that a collector can meet.
	conn, js := testbench.Connect(t, broker(t, func(o *server.Options) { o.JetStream = false }).ClientURL())
	if _, err := conn.Subscribe("$JS.API.>", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	testbench.Must(t, conn.Flush())
	c := NewConsumerCollector(js, []ConsumerName{{"A", "a"}, {"B", "b"}, {"C", "c"}})
	begun := time.Now()
	got := scrape(t, c)
	if took := time.Since(begun); took < readingTimeout || took > 5*time.Second {
		t.Errorf("it took %v, the timeout is %v", took, readingTimeout)
	}
	expect(t, got, map[string]float64{"scrape_errors_total{A/a}": 1, "scrape_errors_total{B/b}": 1, "scrape_errors_total{C/c}": 1})
}
