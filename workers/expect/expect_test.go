package expect_test

import (
	"slices"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

const (
	met         = expectation.Met
	mismatch    = expectation.AmountMismatch
	late        = expectation.PaidLate
	twice       = expectation.PaidTwice
	never       = expectation.NeverPaid
	unannounced = expectation.Unannounced
	refused     = expectation.Refused
	withdrawn   = expectation.Withdrawn
)

func same(t *testing.T, what string, got []expectation.Word, want ...expectation.Word) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: outcomes %v, want %v", what, got, want)
	}
}

func TestExpectedPaymentIsLookedUpWithoutAWebhook(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	r.says("p", state{status: "paid"})
	r.expects("p", brl(10000), in(time.Hour))
	same(t, "paid and unannounced", r.awaits("p", 2), met, unannounced)
	r.settled("p")
	events := testbench.Documents[order.Event](r.Bench, subject.Orders, r.Unit("p").Events())
	if len(events) != 1 || events[0].Status != order.Paid || events[0].Order != "o-p" {
		t.Errorf("the log is %+v", events)
	}
	if n := r.lookups("p"); n != 1 {
		t.Errorf("it was looked up %d times", n)
	}
}
