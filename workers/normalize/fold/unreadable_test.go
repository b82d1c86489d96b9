package fold_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/schematest"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
	"arauto/workers/normalize/fold"
)

// foreign are bodies that this version cannot fold on from.
var foreign = map[string]string{
	"no JSON":             "\x00\xff{",
	"nothing":             "",
	"another document":    `{"hello":"world"}`,
	"another form":        `{"provider":"sandbox","account":"default","kind":"payment","status":"paid","transition":"2","observation":1}`,
	"an unknown status":   `{"provider":"sandbox","account":"default","kind":"payment","payment":"p","status":"half_paid","transition":2,"observation":1}`,
	"another one's event": `{"provider":"picpay","account":"default","kind":"payment","payment":"p","status":"paid","transition":2,"observation":1}`,
}

// unreadableBench is a bench for unreadable messages on ORDERS.
type unreadableBench struct {
	bench
	registry *prometheus.Registry
	metrics  *fold.Metrics
}

func setupUnreadable(t *testing.T) unreadableBench {
	t.Helper()
	registry := prometheus.NewRegistry()
	b := unreadableBench{setup(t), registry, fold.NewMetrics(registry)}
	t.Cleanup(b.Stop) // The broker's check at the end accepts events only.
	return b
}

// plant stores a message in the order log of payment p and returns its sequence.
func (b unreadableBench) plant(t *testing.T, body string, header nats.Header) uint64 {
	t.Helper()
	status := order.Paid
	if strings.Contains(body, "half_paid") {
		status = "half_paid" // Its subject says so, too.
	}
	m := &nats.Msg{Subject: b.Unit("p").Event("p", status), Data: []byte(body), Header: header}
	ack, err := b.JS.PublishMsg(b.Ctx, m)
	testbench.Must(t, err)
	return ack.Sequence
}

// fold handles messages, each twice, with workers without a cache.
func (b unreadableBench) fold(t *testing.T, messages ...*testbench.Delivered) {
	t.Helper()
	retries, err := retry.Open(b.Ctx, b.JS, b.Tokens)
	testbench.Must(t, err)
	dead, err := deadletter.Open(b.Ctx, b.JS)
	testbench.Must(t, err)
	for _, m := range messages {
		for range 2 {
			w, err := fold.New(b.Ctx, fold.Options{JS: b.JS, Tokens: b.Tokens, Retries: retries, DeadLetters: dead, Log: zap.NewNop(), Metrics: b.metrics, Now: time.Now})
			testbench.Must(t, err)
			testbench.Must(t, w.Handle(b.Ctx, m))
		}
	}
}

// readable is the payment's log without unreadable messages.
func (b unreadableBench) readable(t *testing.T) string {
	t.Helper()
	var all []string
	for _, raw := range b.Messages(subject.Orders, b.Unit("p").Events()) {
		e, err := observations.EventOf(raw)
		if err != nil {
			continue
		}
		if err := schematest.Event(raw.Data); err != nil {
			t.Error(err)
		}
		from := "nothing"
		if e.From != nil {
			from = string(*e.From)
		}
		all = append(all, fmt.Sprintf("%d %s>%s", e.Transition, from, e.Status))
	}
	return strings.Join(all, ", ")
}

// reports checks that each of the given messages of ORDERS has one dead letter, and is
// counted once.
func (b unreadableBench) reports(t *testing.T, sequences ...uint64) {
	t.Helper()
	deadLetters := b.deadLetters(t, "p")
	if len(deadLetters) != len(sequences) {
		t.Errorf("there are %d dead letters, want %d: %+v", len(deadLetters), len(sequences), deadLetters)
		return
	}
	for i, l := range deadLetters {
		if l.ID != deadletter.ID(subject.Orders, sequences[i]) || l.Class != record.ClassOurs || l.Stream != subject.Orders {
			t.Errorf("dead letter %d is %+v, want one about %d", i, l, sequences[i])
		}
	}
	if got := testbench.Value(t, b.registry, "arauto_unreadable_events_total"); got != float64(len(sequences)) {
		t.Errorf("%v are counted, want %d", got, len(sequences))
	}
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	body, err := json.Marshal(v)
	testbench.Must(t, err)
	return body
}

func TestFoldGoesOnFromTheLastReadableEvent(t *testing.T) {
	t.Parallel()
	for name, body := range foreign {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupUnreadable(t)
			b.reports(t)
			first := b.plant(t, body, nil)
			pending := b.observe(t, "p", "pending", 0)
			b.fold(t, pending)
			second, third := b.plant(t, body, nil), b.plant(t, body, nil)
			unchanged, paid := b.observe(t, "p", "pending", 0), b.observe(t, "p", "paid", 0)
			b.fold(t, unchanged, paid)
			fourth := b.plant(t, body, nil)
			b.fold(t, b.observe(t, "p", "refunded", 10000), pending, unchanged, paid)
			if got, want := b.readable(t), "1 nothing>pending, 2 pending>paid, 3 paid>refunded"; got != want {
				t.Errorf("the log is %s, want %s", got, want)
			}
			b.reports(t, first, second, third, fourth)
			for i, l := range b.deadLetters(t, "p") {
				if known := i > 0; known != (l.Kind == order.Payment) {
					t.Errorf("dead letter %d says kind %q", i, l.Kind)
				}
			}
		})
	}
}

// A gap in the transition numbers shows subscribers that an event is missing; a number
// that is used twice would not.
func TestTransitionNumberOfAnUnreadableEventIsNotReused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ number, want string }{
		"the next one":      {"2", "1 nothing>pending, 3 pending>paid"},
		"a stranger's":      {"99", "1 nothing>pending, 2 pending>paid"},
		"the largest":       {"18446744073709551615", "1 nothing>pending, 2 pending>paid"},
		"none":              {"two", "1 nothing>pending, 2 pending>paid"},
		"one that was used": {"1", "1 nothing>pending, 2 pending>paid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupUnreadable(t)
			b.fold(t, b.observe(t, "p", "pending", 0))
			sequence := b.plant(t, "{", nats.Header{"ce-sequence": {c.number}, "ce-id": {"another"}})
			b.fold(t, b.observe(t, "p", "paid", 0))
			if got := b.readable(t); got != c.want {
				t.Errorf("the log is %s, want %s", got, c.want)
			}
			b.reports(t, sequence)
		})
	}
}

// A newer version folded the observation before a rollback to this one.
func TestTransitionOfAnUnreadableEventIsNotPublishedAgain(t *testing.T) {
	t.Parallel()
	b := setupUnreadable(t)
	b.fold(t, b.observe(t, "p", "pending", 0))
	paid := b.observe(t, "p", "paid", 0)
	id := order.Event{Provider: "sandbox", Account: "default", Payment: "p", Observation: paid.Sequence}.ID()
	sequence := b.plant(t, `{"version":2}`, nats.Header{"ce-sequence": {"2"}, "ce-id": {id}, jetstream.MsgIDHeader: {id}})
	b.fold(t, paid)
	b.fold(t, b.observe(t, "p", "paid", 0))
	if got, want := b.readable(t), "1 nothing>pending"; got != want {
		t.Errorf("the log is %s, want %s", got, want)
	}
	b.fold(t, b.observe(t, "p", "refunded", 10000), paid)
	if got, want := b.readable(t), "1 nothing>pending, 3 paid>refunded"; got != want {
		t.Errorf("the log is %s, want %s", got, want)
	}
	b.reports(t, sequence)
}

// A payment's dead letters name the observation up to which all are reported.
func TestDeadLetterAboutAnEventKeepsReportedUpTo(t *testing.T) {
	t.Parallel()
	b := setupUnreadable(t)
	b.fold(t, b.observe(t, "p", "paid", 0), b.observe(t, "p", "bogus", 0))
	sequence := b.plant(t, "{", nil)
	b.fold(t, b.observe(t, "p", "paid", 0))
	deadLetters := b.deadLetters(t, "p")
	if len(deadLetters) != 2 || deadLetters[0].Observation != 2 || deadLetters[1].ID != deadletter.ID(subject.Orders, sequence) || deadLetters[1].Reported() != 2 {
		t.Errorf("dead letters are %+v", deadLetters)
	}
	for _, l := range deadLetters {
		if err := schematest.DeadLetter(encoded(t, l)); err != nil {
			t.Error(err)
		}
	}
	if got := b.readable(t); got != "1 nothing>paid" {
		t.Errorf("the log is %s", got)
	}
}

// The duplicate window is minutes, and a payment may rest for months.
func TestDeadLetterAboutAnEventIsStoredOnce(t *testing.T) {
	t.Parallel()
	b := setupUnreadable(t)
	stream, err := b.JS.Stream(b.Ctx, subject.DeadLetters)
	testbench.Must(t, err)
	changed := stream.CachedInfo().Config
	changed.Duplicates = 100 * time.Millisecond
	if _, err := b.JS.UpdateStream(b.Ctx, changed); err != nil {
		t.Fatal(err)
	}
	b.fold(t, b.observe(t, "p", "paid", 0))
	b.plant(t, "{", nil)
	b.fold(t, b.observe(t, "p", "paid", 0), b.observe(t, "p", "bogus", 0)) // The dead letter about the observation is the last one.
	probe := func() bool {
		m := &nats.Msg{Subject: b.Unit("other").DeadLetter("ours", "sweep"), Data: []byte("{")}
		ack, err := b.JS.PublishMsg(b.Ctx, m, jetstream.WithMsgID("probe"))
		testbench.Must(t, err)
		return ack.Duplicate
	}
	for probe(); probe(); { // Until the duplicate window of the older dead letters is over.
	}
	b.fold(t, b.observe(t, "p", "paid", 0))
	if deadLetters := b.deadLetters(t, "p"); len(deadLetters) != 2 || testbench.Value(t, b.registry, "arauto_unreadable_events_total") != 1 {
		t.Errorf("dead letters are %+v", deadLetters)
	}
}

func TestObservationOfAnotherProviderIsUnreadable(t *testing.T) {
	t.Parallel()
	b := setupUnreadable(t)
	m := b.deliver(t, &nats.Msg{Subject: b.Unit("p").Status(), Data: []byte("{}")})
	b.fold(t, m, b.observe(t, "p", "paid", 0))
	deadLetters := b.deadLetters(t, "p")
	if len(deadLetters) != 1 || deadLetters[0].Cause != "stored observation does not decode" || b.readable(t) != "1 nothing>paid" {
		t.Errorf("log %s, dead letters %+v", b.readable(t), deadLetters)
	}
}
