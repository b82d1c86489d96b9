package journey

import (
	"testing"
	"time"

	"arauto/deploy/tools/bench/load"
)

// TestFollowerCountsEachPaymentOnce tells it of events, some of which are not
// its own.
func TestFollowerCountsEachPaymentOnce(t *testing.T) {
	t.Parallel()
	const group, rate = 7, 10.0
	f := newFollower(load.Options{Group: group, Rate: rate, Span: load.Span{Warm: time.Second, For: 2 * time.Second}}, 40)
	f.begin(time.Now().Add(-10 * time.Second)) // All are due by now.
	mark := func(want uint64) {
		t.Helper()
		if _, err := f.Write([]byte("mark\n")); err != nil {
			t.Fatal(err)
		}
		if got := f.onTheir[len(f.onTheir)-1]; got != want {
			t.Errorf("%d are on their way, want %d", got, want)
		}
	}
	mark(100)
	for n := range uint64(35) { // 10 of the warm-up, 20 of the window, 5 after it.
		f.arrive("orders.picpay-checkout.default." + load.PaymentID(group, n) + ".order.paid")
	}
	for _, other := range []string{
		"orders.picpay-checkout.default." + load.PaymentID(group, 3) + ".order.paid", // Again.
		"orders.picpay-checkout.default." + load.PaymentID(group+1, 36) + ".order.paid",
		"orders.picpay-checkout.default." + load.PaymentID(group, 40) + ".order.paid",
		"orders.picpay-checkout.default.somebody.order.paid",
		"orders." + load.PaymentID(group, 36),
	} {
		f.arrive(other)
	}
	mark(65)
	var r Report
	f.finish(&r)
	if r.Events.Count != 20 || r.Before != 100 || r.After != 65 {
		t.Errorf("%+v", r)
	}
	// The first of the window was due at 1 s and has arrived at 10 s.
	if r.Events.Max < 9*time.Second || r.Total < 9*time.Second {
		t.Errorf("longest %v, last %v", r.Events.Max, r.Total)
	}
	if missing := f.await(t.Context(), 35); missing != 0 {
		t.Errorf("%d missing of those that arrived", missing)
	}
}
