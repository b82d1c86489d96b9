package expect_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/subject"
	"arauto/workers/expect"
	"arauto/workers/internal/expectations"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/orderindex"
	"arauto/workers/internal/retry"
	"arauto/workers/lookup"
	"arauto/workers/workertest"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// rig is a broker, a provider with a state for each payment, and the roles lookup,
// normalize and expect.
type rig struct {
	*testbench.Broker
	store    *expectations.Store
	metrics  *prometheus.Registry
	worker   *expect.Worker
	walk     *expect.Walk
	speedup  int
	provider string // The provider's base URL.

	mu     sync.Mutex
	states map[string]state
	asked  map[string]int
}

// state is a payment at the provider. Before its time the provider does not know it.
type state struct {
	status string
	order  string
	amount int64
	from   time.Time // When it gets this state; before, it is pending.
	known  time.Time // From when on the provider knows it.
}

// setup runs the roles. A cadence of speedup times as fast shortens the waits.
func setup(t *testing.T, speedup int) *rig {
	t.Helper()
	r := open(t, speedup)
	r.run()
	return r
}

// open is setup without running anything.
func open(t *testing.T, speedup int) *rig {
	t.Helper()
	r := &rig{
		Broker: testbench.Start(t, "sandbox"), speedup: speedup, states: map[string]state{}, asked: map[string]int{},
		metrics: prometheus.NewRegistry(),
	}
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(server.Close)
	r.provider = server.URL
	var err error
	r.store, err = expectations.Open(r.Ctx, r.JS, r.Tokens, "")
	r.Must(err)
	r.worker = r.another(expect.NewMetrics(r.metrics, "sandbox"))
	r.walk = expect.NewWalk(r.worker, "sandbox")
	return r
}

// another is a worker that shares no memory with the others.
func (r *rig) another(m *expect.Metrics) *expect.Worker {
	r.T.Helper()
	statuses, err := observations.Open(r.Ctx, r.JS)
	r.Must(err)
	retries, err := retry.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	index, err := orderindex.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	w, err := expect.New(r.Ctx, expect.Options{
		JS: r.JS, Tokens: r.Tokens, Expectations: r.store, Observations: statuses, Retries: retries,
		Orders:   index,
		Check:    func(string, string, string) (order.Kind, error) { return order.Payment, nil },
		SameShop: func(u, other subject.Unit) bool { return elsewhere(u) == elsewhere(other) },
		Log:      zap.NewNop(), Metrics: m, Now: time.Now, Without: time.Hour, Speedup: r.speedup,
	})
	r.Must(err)
	return w
}

// run runs the roles until the test ends.
func (r *rig) run() {
	r.T.Helper()
	r.lookUpAndFold()
	b := workertest.Bench{Bench: r.Bench}
	b.Consume(subject.Orders, subject.ExpectConsumer, 8, r.worker.Handle)
	r.Go("walk", r.walk.Run)
}

// lookUpAndFold runs lookup and normalize until the test ends.
func (r *rig) lookUpAndFold() {
	r.T.Helper()
	b := workertest.Bench{Bench: r.Bench}
	worker := b.Lookup(provider.Account{Name: "default", Settings: map[string]string{"base_url": r.provider, "token": "t"}}, lookup.Limits{})
	b.Consume(subject.Notifications, subject.LookupConsumer("sandbox"), 16, worker.HandleNotification)
	b.Consume(subject.LookupRetries, subject.LookupDueConsumer("sandbox"), 16, worker.HandleDue)
	b.Consume(subject.Statuses, subject.NormalizeConsumer, 16, b.Fold().Handle)
}

func (r *rig) serve(w http.ResponseWriter, q *http.Request) {
	payment, err := url.PathUnescape(path.Base(q.URL.EscapedPath()))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	now := time.Now()
	r.mu.Lock()
	r.asked[payment]++
	s, ok := r.states[payment]
	r.mu.Unlock()
	if !ok || now.Before(s.known) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error":"no"}`))
		return
	}
	status := s.status
	if now.Before(s.from) {
		status = "pending"
	}
	_, _ = fmt.Fprintf(w, `{"payment":%q,"order":%q,"status":%q,"amount":%d,"refunded":0}`, payment, s.order, status, s.amount)
}

// says sets a payment's state at the provider.
func (r *rig) says(payment string, s state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.order == "" {
		s.order = "o-" + payment
	}
	if s.amount == 0 {
		s.amount = 10000
	}
	r.states[payment] = s
}

func (r *rig) lookups(payment string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[payment]
}

// brl is a sum in centavos.
func brl(cents int64) *expectation.Amount { return &expectation.Amount{Currency: "BRL", Value: cents} }

// in is the time after a span.
func in(d time.Duration) *time.Time {
	at := time.Now().Add(d).UTC()
	return &at
}

// expects publishes an expectation as a service does that has NATS.
func (r *rig) expects(payment string, amount *expectation.Amount, deadline *time.Time) {
	r.T.Helper()
	r.Publish(r.Unit(payment).Expected(), expectation.Expectation{Order: "o-" + payment, Amount: amount, Deadline: deadline})
}

// elsewhere reports whether a payment is of the tests' second shop.
func elsewhere(u subject.Unit) bool { return strings.HasPrefix(u.Payment, "elsewhere") }

// outcomes are the words that were published of a payment, in order.
func (r *rig) outcomes(payment string) []expectation.Word {
	r.T.Helper()
	words := []expectation.Word{}
	for _, o := range r.published(payment) {
		words = append(words, o.Outcome)
	}
	return words
}

func (r *rig) published(payment string) []expectation.Outcome {
	r.T.Helper()
	return testbench.Documents[expectation.Outcome](r.Bench, subject.Outcomes, r.Unit(payment).Outcomes())
}

// awaits waits until a payment has so many outcomes, and returns them.
func (r *rig) awaits(payment string, n int) []expectation.Word {
	r.T.Helper()
	r.Until(fmt.Sprintf("%s has %d outcomes", payment, n), func() bool { return len(r.outcomes(payment)) >= n })
	return r.outcomes(payment)
}

// settled waits until no expectation of a payment is left.
func (r *rig) settled(payment string) {
	r.T.Helper()
	r.Until(payment+" is settled", func() bool { return len(r.Messages(subject.Expectations, r.Unit(payment).Expected())) == 0 })
}

// events is a payment's order log.
func (r *rig) events(payment string) []order.Event {
	r.T.Helper()
	return testbench.Documents[order.Event](r.Bench, subject.Orders, r.Unit(payment).Events())
}
