package fold_test

import (
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
)

func TestDeadLetterNamesBothRefundedSums(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.spans = order.Spans{Correction: 1, Refund: time.Hour, Undecided: time.Hour} // The second contradiction counts as insisted.
	w := b.worker(t, b.JS)
	for _, m := range []*testbench.Delivered{
		b.observe(t, "o-1", "paid", 0), b.observe(t, "o-1", "partially_refunded", 500), b.observe(t, "o-1", "paid", 600),
		b.observe(t, "o-1", "paid", 600), b.observe(t, "o-1", "expired", 0),
	} {
		testbench.Must(t, w.Handle(b.Ctx, m))
	}
	deadLetters := b.deadLetters(t, "o-1")
	want := []string{
		`provider word "paid" (payment, paid with 600 refunded) cannot follow payment, partially_refunded with 500 refunded`,
		`provider word "expired" (payment, expired) cannot follow payment, partially_refunded with 500 refunded`,
	}
	if len(deadLetters) != len(want) || deadLetters[0].Cause != want[0] || deadLetters[1].Cause != want[1] {
		t.Errorf("dead letters are %+v", deadLetters)
	}
}
