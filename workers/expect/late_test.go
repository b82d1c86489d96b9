package expect_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/expect"
	"arauto/workers/internal/consume"
)

// lagging is the index of orders before the entry of a payment is in it.
type lagging struct {
	expect.Payments
	without subject.Unit
}

func (l lagging) PaymentsOf(ctx context.Context, order string) ([]subject.Unit, error) {
	units, err := l.Payments.PaymentsOf(ctx, order)
	return slices.DeleteFunc(units, func(u subject.Unit) bool { return u == l.without }), err
}

// TestSecondPaymentIsFoundOnceItsEntryIsThere handles the event of an order's second payment
// before normalize has stored its entry in the index of orders.
func TestSecondPaymentIsFoundOnceItsEntryIsThere(t *testing.T) {
	t.Parallel()
	r := open(t, 600)
	r.lookUpAndFold()
	pay := func(payment string) {
		r.says(payment, state{status: "paid", order: "o-p"})
		r.Notify(record.Notification{Payment: payment})
		r.Until(payment+" is paid", func() bool { return len(r.events(payment)) == 1 })
	}
	pay("p")
	r.expects("p", brl(10000), in(time.Hour))
	r.Must(r.walk.Round(r.Ctx))
	same(t, "the first", r.outcomes("p"), met)
	pay("q")
	second := r.Messages(subject.Orders, r.Unit("q").Events())[0].Sequence
	index := r.worker.Orders
	r.Until("the second payment's entry", func() bool {
		units, err := index.PaymentsOf(r.Ctx, "o-p")
		return err == nil && len(units) == 2
	})
	r.worker.Orders = lagging{index, r.Unit("q")}
	if err := r.worker.Handle(r.Ctx, r.Delivered(subject.Orders, second)); !errors.Is(err, consume.ErrRetryLater) {
		t.Errorf("an event whose payment is not in the index was handled: %v", err)
	}
	same(t, "before the entry", r.outcomes("p"), met)
	r.worker.Orders = index
	r.Must(r.worker.Handle(r.Ctx, r.Delivered(subject.Orders, second)))
	same(t, "with the entry", r.outcomes("p"), met, twice)
}
