package lookup_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/lookup"
)

// turned gives a worker a clock that only the test sets. It is ahead, so that the broker
// delivers nothing by itself.
func turned(w *lookup.Worker) (turn func(to time.Time)) {
	now := time.Now().Add(24 * time.Hour).UTC()
	w.Now = func() time.Time { return now }
	return func(to time.Time) { now = to }
}

// entry is the scheduled look-up of a payment of the account default.
func (r *rig) entry(payment string) record.ScheduledLookUp {
	r.T.Helper()
	entry := r.parked(payment)
	if entry.Sequence == 0 {
		r.T.Fatalf("nothing is parked for %s", payment)
	}
	return entry.Parked
}

// fireBy is fire for another worker than the rig's.
func (r *rig) fireBy(w *lookup.Worker, payment string) {
	r.T.Helper()
	entry := r.parked(payment)
	r.Must(r.retries.Cancel(r.Ctx, entry))
	body, err := json.Marshal(entry.Parked)
	r.Must(err)
	r.Must(w.HandleDue(r.Ctx, &testbench.Delivered{RawStreamMsg: &jetstream.RawStreamMsg{Data: body, Sequence: entry.Sequence}}))
}

// flooded answers forged payments as unknown and all others with a fact, and records
// the order of the look-ups.
func (r *rig) flooded() (asked func() []string) {
	var mu sync.Mutex
	var all []string
	r.script(func(payment string, _ int) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, payment)
		if strings.HasPrefix(payment, "forged") {
			return http.StatusNotFound, "{}"
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func TestRealPaymentsGoBeforeAFlood(t *testing.T) {
	t.Parallel()
	r := setup(t)
	asked := r.flooded()
	const forged = 150
	limit := ratelimit.Limit{Rate: 10, Burst: 20, Concurrency: 4}
	step := time.Second / time.Duration(limit.Rate)
	w := r.limited(limit)
	turn := turned(w)
	w.Rates["default"] = ratelimit.New(limit, func() time.Time { return w.Now() })
	began := w.Now()
	r.Must(w.HandleNotification(r.Ctx, r.told("default", "known")))
	for i := range forged {
		r.Must(w.HandleNotification(r.Ctx, r.told("default", fmt.Sprintf("forged-%d", i))))
	}
	if got := len(asked()); got != limit.Burst {
		t.Fatalf("%d look-ups at once, want the burst of %d", got, limit.Burst)
	}
	r.Must(w.HandleNotification(r.Ctx, r.told("default", "first")))
	r.Must(w.HandleNotification(r.Ctx, r.told("default", "known")))
	first, known := r.entry("first"), r.entry("known")
	if wait := known.DueAt.Sub(began); known.Reason != "rate_limit" || wait > step {
		t.Errorf("a known payment waits %v for %q behind %d forged ones", wait, known.Reason, forged)
	}
	if wait, most := first.DueAt.Sub(began), time.Duration(forged)*step; wait > most {
		t.Errorf("a first webhook waits %v behind %d forged ones, more than %v", wait, forged, most)
	}
	turn(known.DueAt)
	r.fireBy(w, "known")
	if got := asked(); len(got) != limit.Burst+1 || got[limit.Burst] != "known" {
		t.Errorf("after the burst %v were asked for", got[limit.Burst:])
	}
	turn(began.Add(6 * time.Second)) // The unknown ones of the burst are due, while the others are still queued.
	r.fireBy(w, "forged-0")
	if p := r.entry("forged-0"); p.Reason != "rate_limit" || p.NotFound != 1 || !p.DueAt.After(first.DueAt) {
		t.Errorf("an unknown payment waits as %+v, a first webhook until %v", p, first.DueAt)
	}
	turn(first.DueAt)
	r.fireBy(w, "first")
	if got := asked(); got[len(got)-1] != "first" {
		t.Errorf("when its turn had come the first webhook was not asked for: %v", got[limit.Burst:])
	}
}

// However busy the machine, no forged payment has two look-ups before the real ones.
func TestFloodIsLookedUpOnceBeforeRealPayments(t *testing.T) {
	t.Parallel()
	r := setup(t)
	asked := r.flooded()
	o := r.limited(ratelimit.Limit{Rate: 200, Burst: 10, Concurrency: 4}).Options
	o.Policy.NotFound = []time.Duration{time.Hour}
	w := lookup.New(o)
	const forged = 60
	for i := range forged {
		r.told("default", fmt.Sprintf("forged-%d", i))
	}
	r.told("default", "real")
	r.told("acme", "other")
	r.run(w)
	r.Until("all are asked for", func() bool { return len(asked()) >= forged+2 })
	r.Until("the real ones are confirmed", func() bool { return r.count(subject.Statuses, "statuses.sandbox.*.*") == 2 })
	got := asked()
	slices.Sort(got)
	if once := slices.Compact(slices.Clone(got)); len(got) != forged+2 || len(once) != len(got) {
		t.Errorf("%d look-ups of %d payments, want one of each of %d", len(got), len(once), forged+2)
	}
	if deadLetters := r.deadLetters(); len(deadLetters) != 0 {
		t.Errorf("dead letters: %+v", deadLetters)
	}
}

// The forged notifications that wait in the consumer of a provider do not delay its other
// accounts.
func TestOtherAccountIsLookedUpBeforeTheWaitingFlood(t *testing.T) {
	t.Parallel()
	r := setup(t)
	const forged = 1000
	asked := make(chan int, 1) // How many forged ones were parked before.
	r.script(func(payment string, _ int) (int, string) {
		if payment != "other" {
			return http.StatusNotFound, `{"error":"no"}`
		}
		select {
		case asked <- r.count(subject.LookupRetries, "lookup.parked.sandbox.default.*"):
		default:
		}
		return http.StatusOK, state(payment, "paid", 10000, 0)
	})
	w := r.limited(ratelimit.Limit{Rate: 1, Burst: 1, Concurrency: 4})
	for i := range forged {
		r.Notify(record.Notification{Account: "default", Payment: fmt.Sprintf("forged-%d", i)})
	}
	r.Notify(record.Notification{Account: "acme", Payment: "other"})
	r.run(w)
	if parked := testbench.Receive(t, "the payment of the other account is asked for", asked); parked > forged/2 {
		t.Errorf("%d of %d forged payments went before the one of another account", parked, forged)
	}
}

func TestAccountIsOverItsLimitWhileLookUpsAreQueued(t *testing.T) {
	t.Parallel()
	r := setup(t)
	limit := ratelimit.Limit{Rate: 1, Burst: 1, Concurrency: 4}
	w := r.limited(limit)
	turned(w)
	w.Rates["default"] = ratelimit.New(limit, func() time.Time { return w.Now() })
	check := func(flooded bool) {
		t.Helper()
		for _, account := range []string{"default", "acme", "removed"} {
			want := flooded && account == "default"
			for _, on := range []string{r.Tokens.Unit("sandbox", account, "p").Notification(), r.Tokens.Waiting("sandbox", account, "p").Due()} {
				if got := w.OverLimit(on); got != want {
					t.Errorf("%s is over its limit: %v, want %v", on, got, want)
				}
			}
		}
	}
	check(false)
	r.Must(w.HandleNotification(r.Ctx, r.told("default", "first")))
	check(false)
	r.Must(w.HandleNotification(r.Ctx, r.told("default", "queued")))
	check(true)
}

// Also while its account is flooded.
func TestUnknownPaymentIsFoundWithinTheHour(t *testing.T) {
	t.Parallel()
	for _, flood := range []int{0, 60} {
		t.Run(fmt.Sprint(flood), func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			turn := turned(r.worker)
			began := r.worker.Now()
			r.script(func(payment string, _ int) (int, string) {
				if payment != "p" || r.worker.Now().Sub(began) < 4*time.Minute {
					return http.StatusNotFound, `{"error":"no"}`
				}
				return http.StatusOK, state(payment, "paid", 10000, 0)
			})
			for i := range flood {
				r.handle(r.notify(fmt.Sprintf("forged-%d", i)))
			}
			r.handle(r.notify("p"))
			for len(r.observations("p")) == 0 && len(r.deadLetters()) == 0 {
				turn(r.entry("p").DueAt)
				r.fire("p")
			}
			if took := r.worker.Now().Sub(began); took > time.Hour || len(r.deadLetters()) != 0 {
				t.Errorf("after %v and %d look-ups, dead letters are %+v", took, r.lookups("p"), r.deadLetters())
			}
		})
	}
}

func TestRechecksOfAFloodedAccountSlowDown(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.flooded()
	turned(r.worker)
	wait := func(payment string) time.Duration {
		r.handle(r.notify(payment))
		return r.entry(payment).DueAt.Sub(r.worker.Now())
	}
	if got := wait("forged-0"); got != 5*time.Second {
		t.Errorf("the first unknown payment waits %v", got)
	}
	for i := range 55 {
		r.handle(r.notify(fmt.Sprintf("forged-%d", i+1)))
	}
	if got := wait("forged-56"); got != 20*time.Second {
		t.Errorf("an unknown payment of a flood waits %v", got)
	}
	for i := range 60 {
		r.handle(r.notify(fmt.Sprintf("real-%d", i)))
	}
	if got := wait("forged-57"); got != 5*time.Second {
		t.Errorf("an unknown payment among real ones waits %v", got)
	}
}

func TestAnswersAreCountedByAccountFromTheStart(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.flooded()
	registry := prometheus.NewRegistry()
	o := r.worker.Options
	o.Metrics = lookup.NewMetrics(registry)
	r.worker = lookup.New(o)
	text := func(known, unknown int) string {
		return fmt.Sprintf(`# HELP arauto_lookup_answers_total Answers of providers, by whether they know the payment: known or unknown.
# TYPE arauto_lookup_answers_total counter
arauto_lookup_answers_total{account="default",payment="known",provider="sandbox"} %d
arauto_lookup_answers_total{account="default",payment="unknown",provider="sandbox"} %d
`, known, unknown)
	}
	check := func(known, unknown int) {
		t.Helper()
		if err := testutil.GatherAndCompare(registry, strings.NewReader(text(known, unknown)), "arauto_lookup_answers_total"); err != nil {
			t.Error(err)
		}
	}
	check(0, 0)
	r.handle(r.notify("real"))
	r.handle(r.notify("forged-1"))
	r.handle(r.notify("forged-2"))
	check(1, 2)
	r.fails(http.StatusBadGateway)
	r.handle(r.notify("p")) // It is not an answer about a payment.
	check(1, 2)
}

// A queued payment is not queued again, or its repeated webhooks would delay every later
// payment.
func TestRepeatedWebhookIsQueuedOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.flooded()
	limit := ratelimit.Limit{Rate: 1, Burst: 1, Concurrency: 4}
	w := r.limited(limit)
	turned(w)
	w.Rates["default"] = ratelimit.New(limit, func() time.Time { return w.Now() })
	r.Must(w.HandleNotification(r.Ctx, r.notify("first")))
	var repeated *testbench.Delivered
	for range 40 {
		repeated = r.notify("repeated")
		r.Must(w.HandleNotification(r.Ctx, repeated))
	}
	r.Must(w.HandleNotification(r.Ctx, r.notify("later")))
	if wait := r.entry("later").DueAt.Sub(w.Now()); wait > 10*time.Second {
		t.Errorf("the payment behind waits for %v", wait)
	}
	if p := r.entry("repeated"); p.Covers != repeated.Sequence {
		t.Errorf("parked is %+v, the last webhook is %d", p, repeated.Sequence)
	}
}
