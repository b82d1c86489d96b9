package lookup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/providerhttp"
	"arauto/workers/internal/retry"
	"arauto/workers/lookup"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// rig is a broker, a provider that the test scripts, and a worker.
type rig struct {
	*testbench.Broker
	t        *testing.T
	ctx      context.Context
	tokens   subject.Tokens
	worker   *lookup.Worker
	statuses *observations.Store
	retries  *retry.Store

	mu     sync.Mutex
	asked  map[string]int
	answer func(payment string, times int) (status int, body string)
}

// offsets are the retry delays of these tests; tests read due times, they do
// not wait for them.
var offsets = []time.Duration{time.Minute, time.Hour, 2 * time.Hour}

func setup(t *testing.T) *rig { return setupFor(t, "sandbox") }

func setupFor(t *testing.T, name string) *rig {
	t.Helper()
	tokens, err := subject.Keyed("a key for tests, 32 bytes long...")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		Broker: testbench.Start(t, name), t: t, ctx: testbench.Context(t), tokens: tokens,
		asked: map[string]int{},
	}
	r.says("paid", 10000, 0)
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(server.Close)
	p, ok := providers.All.Get(name)
	if !ok {
		t.Fatalf("no provider %s", name)
	}
	if r.statuses, err = observations.Open(r.ctx, r.JS); err != nil {
		t.Fatal(err)
	}
	if r.retries, err = retry.Open(r.ctx, r.JS, tokens); err != nil {
		t.Fatal(err)
	}
	dead, err := deadletter.Open(r.ctx, r.JS)
	if err != nil {
		t.Fatal(err)
	}
	named, err := providers.All.RetryPolicy("default")
	if err != nil {
		t.Fatal(err)
	}
	policy, err := named.WithOffsets(offsets)
	if err != nil {
		t.Fatal(err)
	}
	client := providerhttp.New(providerhttp.Options{Timeout: 10 * time.Second, AnswerLimit: 1 << 20, Connections: 8, Now: time.Now})
	t.Cleanup(client.Close)
	r.worker = lookup.New(lookup.Options{
		Provider: p,
		Accounts: map[string]provider.Account{"default": {
			Name: "default", Settings: map[string]string{"base_url": server.URL, "token": "t"},
		}},
		Policy: policy, Tokens: tokens, Ask: client, Observations: r.statuses, Retries: r.retries, DeadLetters: dead,
		Log: zap.NewNop(), Metrics: lookup.NewMetrics(prometheus.NewRegistry()),
		Now: time.Now, Jitter: func() float64 { return 0 },
	})
	return r
}

func (r *rig) serve(w http.ResponseWriter, q *http.Request) {
	payment, err := url.PathUnescape(path.Base(q.URL.EscapedPath()))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.asked[payment]++
	times, answer := r.asked[payment], r.answer
	r.mu.Unlock()
	status, body := answer(payment, times)
	w.WriteHeader(status)
	if _, err := w.Write([]byte(body)); err != nil {
		r.t.Logf("answer not written: %v", err)
	}
}

// says makes the provider answer one status for every payment.
func (r *rig) says(word string, amount, refunded int64) {
	r.script(func(payment string, _ int) (int, string) {
		return http.StatusOK, state(payment, word, amount, refunded)
	})
}

// fails makes the provider answer an HTTP status and an error of its own.
func (r *rig) fails(status int) {
	r.script(func(string, int) (int, string) { return status, `{"error":"no"}` })
}

func (r *rig) script(answer func(payment string, times int) (int, string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func state(payment, word string, amount, refunded int64) string {
	return fmt.Sprintf(`{"payment":%q,"order":"o-%s","status":%q,"amount":%d,"refunded":%d}`, payment, payment, word, amount, refunded)
}

func (r *rig) lookups(payment string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[payment]
}

// delivered is a stored message as a consumer delivers it, so that a test can choose
// when, how often and in which order it is handled.
type delivered struct {
	jetstream.Msg
	subject  string
	data     []byte
	sequence uint64
	stored   time.Time
	behind   uint64 // Messages pending behind it.
}

func (d *delivered) Subject() string      { return d.subject }
func (d *delivered) Data() []byte         { return d.data }
func (d *delivered) Headers() nats.Header { return nats.Header{} }
func (d *delivered) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Stream: d.sequence}, Timestamp: d.stored, NumPending: d.behind}, nil
}

// notify stores a notification as the gateway does.
func (r *rig) notify(payment string) *delivered {
	r.t.Helper()
	return r.store(record.Notification{Payment: payment, Kind: order.Payment})
}

func (r *rig) store(n record.Notification) *delivered {
	r.t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		r.t.Fatal(err)
	}
	n.ID, n.Provider, n.Account, n.ReceivedAt = id.String(), r.worker.Provider.Name, "default", time.Now().UTC()
	m := &delivered{subject: r.tokens.Unit(n.Provider, n.Account, n.Payment).Notification()}
	if m.data, err = json.Marshal(n); err != nil {
		r.t.Fatal(err)
	}
	ack, err := r.JS.Publish(r.ctx, m.subject, m.data)
	if err != nil {
		r.t.Fatal(err)
	}
	m.sequence = ack.Sequence
	return m
}

// handle delivers a notification behind which every later stored one is pending.
func (r *rig) handle(m *delivered) {
	r.t.Helper()
	stream, err := r.JS.Stream(r.ctx, subject.Notifications)
	if err != nil {
		r.t.Fatal(err)
	}
	m.behind = stream.CachedInfo().State.LastSeq - m.sequence
	if err := r.worker.HandleNotification(r.ctx, m); err != nil {
		r.t.Fatalf("handle notification %d: %v", m.sequence, err)
	}
}

// fire handles a payment's scheduled look-up as if it were due.
func (r *rig) fire(payment string) record.ScheduledLookUp {
	r.t.Helper()
	entry := r.parked(payment)
	if entry.Sequence == 0 {
		r.t.Fatal("no look-up is scheduled")
	}
	if err := r.retries.Cancel(r.ctx, entry); err != nil { // The delivery purges the schedule.
		r.t.Fatal(err)
	}
	r.due(entry)
	return entry.Parked
}

// due handles a due look-up.
func (r *rig) due(entry retry.Entry) {
	r.t.Helper()
	body, err := json.Marshal(entry.Parked)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.worker.HandleDue(r.ctx, &delivered{data: body, sequence: entry.Sequence}); err != nil {
		r.t.Fatalf("handle due look-up: %v", err)
	}
}

func (r *rig) parked(payment string) retry.Entry {
	r.t.Helper()
	entry, err := r.retries.Read(r.ctx, r.worker.Provider.Name, "default", payment)
	if err != nil {
		r.t.Fatal(err)
	}
	return entry
}

func (r *rig) last(payment string) observations.Entry {
	r.t.Helper()
	last, err := r.statuses.Last(r.ctx, r.tokens.Unit(r.worker.Provider.Name, "default", payment))
	if err != nil {
		r.t.Fatal(err)
	}
	return last
}

// observations reads the payment's observations.
func (r *rig) observations(payment string) []order.Observation {
	r.t.Helper()
	return read[order.Observation](r, subject.Statuses, r.tokens.Unit(r.worker.Provider.Name, "default", payment).Status())
}

func (r *rig) deadLetters() []record.DeadLetter {
	r.t.Helper()
	return read[record.DeadLetter](r, subject.DeadLetters, "dead.>")
}

// traces are the traces of the payment's observations.
func (r *rig) traces(payment string) []string {
	r.t.Helper()
	var all []string
	for _, raw := range messages(r, subject.Statuses, r.tokens.Unit(r.worker.Provider.Name, "default", payment).Status()) {
		all = append(all, raw.Header.Get("traceparent"))
	}
	return all
}

func read[T any](r *rig, name, filter string) []T {
	r.t.Helper()
	var all []T
	for _, raw := range messages(r, name, filter) {
		var one T
		if err := json.Unmarshal(raw.Data, &one); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

func messages(r *rig, name, filter string) []*jetstream.RawStreamMsg {
	r.t.Helper()
	stream, err := r.JS.Stream(r.ctx, name)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for next := uint64(1); ; {
		raw, err := stream.GetMsg(r.ctx, next, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all
		}
		if err != nil {
			r.t.Fatal(err)
		}
		all, next = append(all, raw), raw.Sequence+1
	}
}
