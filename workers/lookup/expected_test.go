package lookup_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

// Services announce payments before the provider knows them, which is no flood of invented
// webhooks: the first look-up of a webhook's payment that is not known yet is soon repeated.
func TestExpectedPaymentsThatAreUnknownDelayNoWebhook(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	for i := range 60 {
		payment := fmt.Sprint("e-", i)
		r.Must(r.retries.Schedule(r.Ctx, retry.Expected, record.ScheduledLookUp{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: "o-" + payment,
			Cause: order.CauseExpectation, Reason: string(order.CauseExpectation), DueAt: time.Now().Add(time.Hour).UTC(),
		}))
		r.fire(payment)
	}
	r.handle(r.notify("new"))
	if p := r.parked("new"); p.Parked.NotFound != 1 || p.Parked.DueAt.Sub(p.At) > 10*time.Second {
		t.Errorf("it is looked up again after %v: %+v", p.Parked.DueAt.Sub(p.At), p.Parked)
	}
}

// A look-up of an expected payment waits in the last class of the rate limit, and a webhook
// about the same payment does not wait with it.
func TestWebhookDoesNotWaitBehindAnExpectedPaymentsLimit(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.says("paid", 10000, 0)
	r.Must(r.retries.Schedule(r.Ctx, retry.Expected, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Order: "o",
		Cause: order.CauseExpectation, Reason: string(record.RateLimited), DueAt: time.Now().Add(time.Hour).UTC(),
	}))
	r.handle(r.notify("p"))
	if n := r.lookups("p"); n != 1 {
		t.Errorf("it was looked up %d times: %+v", n, r.parked("p").Parked)
	}
}
