package expect_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/expect"
	"arauto/workers/internal/expectations"
	"arauto/workers/internal/observations"
)

// TestAnnouncedAgainItCountsFromTheFirstTime announces by NATS, without a deadline, what is
// expected already, as a service does that announces everything open each day. The deadline must
// stay, for another process too, and that of another version is its own.
func TestAnnouncedAgainItCountsFromTheFirstTime(t *testing.T) {
	t.Parallel()
	r := open(t, 600)
	r.says("p", state{status: "pending"})
	at := r.Unit("p").Expected()
	judged := func(w *expect.Worker) time.Time { // The deadline.
		t.Helper()
		raw, err := stream.Last(r.Ctx, r.store.Expected(), at)
		r.Must(err)
		_, deadline, err := w.Message(r.Ctx, raw)
		r.Must(err)
		return deadline
	}
	r.expects("p", brl(1), nil)
	first := judged(r.worker)
	for range 3 {
		r.expects("p", brl(1), nil)
		if again := judged(r.worker); !again.Equal(first) {
			t.Errorf("announced again, the deadline is %v, want %v", again, first)
		}
	}
	fresh := r.another(expect.NewMetrics(prometheus.NewRegistry(), "sandbox"))
	if kept := judged(fresh); !kept.Equal(first) {
		t.Errorf("another process has the deadline %v, want %v", kept, first)
	}
	r.expects("p", brl(10000), nil)
	second := judged(r.worker)
	if !second.After(first) {
		t.Errorf("another version has the deadline %v, no later than the first one's %v", second, first)
	}

	r.run()
	r.expects("p", brl(10000), nil)
	r.Until("the walk has kept when it was announced", func() bool {
		all := r.Messages(subject.Expectations, at)
		return len(all) == 1 && expectations.Since(all[0]).Equal(second.Add(-time.Hour))
	})
	r.says("p", state{status: "paid"})
	r.Notify(record.Notification{Payment: "p"})
	same(t, "paid", r.awaits("p", 1), met)
	if o := r.published("p")[0]; o.Deadline == nil || !o.Deadline.Equal(second) {
		t.Errorf("the outcome's deadline is %v, want %v", o.Deadline, second)
	}
	r.settled("p")
	r.expects("p", nil, nil)
	r.Publish(at, expectation.Expectation{Withdrawn: true})
	r.settled("p")
	r.expects("p", nil, nil)
	same(t, "announced after a withdrawal", r.awaits("p", 3), met, withdrawn, met)
	if o := r.published("p")[2]; !o.Deadline.After(second) {
		t.Errorf("announced after a withdrawal, the deadline is %v", o.Deadline)
	}
}

// erasing is the index of orders, which has the payment erased while its facts are read.
type erasing struct {
	expect.Payments
	erase func()
}

func (e erasing) PaymentsOf(ctx context.Context, order string) ([]subject.Unit, error) {
	units, err := e.Payments.PaymentsOf(ctx, order)
	e.erase()
	return units, err
}

// TestErasedPaymentHasNoOutcome erases a payment between the reading of its facts and the
// outcome, which nothing would erase.
func TestErasedPaymentHasNoOutcome(t *testing.T) {
	t.Parallel()
	r := open(t, 600)
	r.lookUpAndFold()
	r.says("p", state{status: "paid"})
	r.Notify(record.Notification{Payment: "p"})
	r.Until("it is paid", func() bool { return len(r.events("p")) == 1 })
	until := time.Now().Add(time.Hour)
	r.worker.Orders = erasing{r.worker.Orders, func() {
		statuses, err := observations.Open(r.Ctx, r.JS)
		r.Must(err)
		last, err := statuses.Last(r.Ctx, r.Unit("p"))
		r.Must(err)
		_, err = statuses.Append(r.Ctx, r.Unit("p"), last, order.Observation{Provider: "sandbox", Account: "default", RefusedUntil: &until}, "")
		r.Must(err)
	}}
	r.expects("p", brl(10000), in(time.Hour))
	raw, err := stream.Last(r.Ctx, r.store.Expected(), r.Unit("p").Expected())
	r.Must(err)
	again, _, err := r.worker.Message(r.Ctx, raw)
	r.Must(err)
	if all := r.outcomes("p"); len(all) > 0 || !again.Equal(until) {
		t.Errorf("an erased payment has the outcomes %v, and is judged again at %v, want none at %v", all, again, until)
	}
}
