package lookup_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"sync"
	"testing"
	"time"

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
	worker   *lookup.Worker
	statuses *observations.Store
	retries  *retry.Store
	workers  int // That limited has made.

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
	r := &rig{Broker: testbench.Start(t, name), asked: map[string]int{}}
	r.says("paid", 10000, 0)
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(server.Close)
	p, ok := providers.All.Get(name)
	if !ok {
		t.Fatalf("no provider %s", name)
	}
	var err error
	r.statuses, err = observations.Open(r.Ctx, r.JS)
	r.Must(err)
	r.retries, err = retry.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	dead, err := deadletter.Open(r.Ctx, r.JS)
	r.Must(err)
	named, err := providers.All.RetryPolicy("default")
	r.Must(err)
	policy, err := named.WithOffsets(offsets)
	r.Must(err)
	// A timeout longer than any test: on a busy machine a look-up that waits for a signal of
	// its test would fail otherwise.
	client := providerhttp.New(providerhttp.Options{Timeout: time.Hour, AnswerLimit: 1 << 20, Connections: 8, Now: time.Now})
	t.Cleanup(client.Close)
	r.worker = lookup.New(lookup.Options{
		Provider: p,
		Accounts: map[string]provider.Account{"default": {
			Name: "default", Settings: map[string]string{"base_url": server.URL, "token": "t"},
		}},
		Policy: policy, Tokens: r.Tokens, Ask: client, Observations: r.statuses, Retries: r.retries, DeadLetters: dead,
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
		r.T.Logf("answer not written: %v", err)
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

// notify stores a notification as the gateway does.
func (r *rig) notify(payment string) *testbench.Delivered {
	r.T.Helper()
	return r.store(record.Notification{Payment: payment})
}

func (r *rig) store(n record.Notification) *testbench.Delivered {
	r.T.Helper()
	n.Provider = r.worker.Provider.Name
	return r.Delivered(subject.Notifications, r.Notify(n))
}

// handle delivers a notification behind which every later stored one is pending.
func (r *rig) handle(m *testbench.Delivered) {
	r.T.Helper()
	m.Behind = r.Stream(subject.Notifications).CachedInfo().State.LastSeq - m.Sequence
	if err := r.worker.HandleNotification(r.Ctx, m); err != nil {
		r.T.Fatalf("handle notification %d: %v", m.Sequence, err)
	}
}

// fire handles a payment's scheduled look-up as if it were due.
func (r *rig) fire(payment string) record.ScheduledLookUp {
	r.T.Helper()
	entry := r.parked(payment)
	if entry.Sequence == 0 {
		r.T.Fatal("no look-up is scheduled")
	}
	if err := r.retries.Cancel(r.Ctx, entry); err != nil { // The delivery purges the schedule.
		r.T.Fatal(err)
	}
	r.due(entry)
	return entry.Parked
}

// due handles a due look-up.
func (r *rig) due(entry retry.Entry) {
	r.T.Helper()
	body, err := json.Marshal(entry.Parked)
	r.Must(err)
	if err := r.worker.HandleDue(r.Ctx, &testbench.Delivered{RawStreamMsg: &jetstream.RawStreamMsg{Data: body, Sequence: entry.Sequence}}); err != nil {
		r.T.Fatalf("handle due look-up: %v", err)
	}
}

func (r *rig) parked(payment string) retry.Entry {
	r.T.Helper()
	entry, err := r.retries.Read(r.Ctx, r.worker.Provider.Name, "default", payment)
	r.Must(err)
	return entry
}

func (r *rig) last(payment string) observations.Entry {
	r.T.Helper()
	last, err := r.statuses.Last(r.Ctx, r.Tokens.Unit(r.worker.Provider.Name, "default", payment))
	r.Must(err)
	return last
}

// observations reads the payment's observations.
func (r *rig) observations(payment string) []order.Observation {
	r.T.Helper()
	return testbench.Documents[order.Observation](r.Bench, subject.Statuses, r.Tokens.Unit(r.worker.Provider.Name, "default", payment).Status())
}

func (r *rig) deadLetters() []record.DeadLetter {
	r.T.Helper()
	return testbench.Documents[record.DeadLetter](r.Bench, subject.DeadLetters, "dead.>")
}

// traces are the traces of the payment's observations.
func (r *rig) traces(payment string) []string {
	r.T.Helper()
	var all []string
	for _, raw := range r.Messages(subject.Statuses, r.Tokens.Unit(r.worker.Provider.Name, "default", payment).Status()) {
		all = append(all, raw.Header.Get("traceparent"))
	}
	return all
}
