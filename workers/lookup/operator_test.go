package lookup_test

import (
	"net/http"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

// An operator who tries during an outage must not use up the payment's attempts.
func TestExpeditedLookUpSpendsNoAttempt(t *testing.T) {
	t.Parallel()
	for _, early := range []bool{true, false} {
		r := setup(t)
		r.fails(http.StatusInternalServerError)
		first := time.Now().UTC().Truncate(time.Millisecond)
		if err := r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Cause: order.CauseOperator, Reason: "operator",
			FirstFailure: &first, DueAt: time.Now().Add(time.Hour).UTC(), Expedited: early,
		}); err != nil {
			t.Fatal(err)
		}
		r.fire("p")
		want := 1
		if early {
			want = 0
		}
		if got := r.parked("p").Parked; got.Attempts != want || got.Expedited {
			t.Errorf("early %v: parked again with %d attempts, early %v", early, got.Attempts, got.Expedited)
		}
	}
}

// The operator's look-up has replaced the notification's scheduled one.
func TestOperatorsLookUpAnswersTheNotificationItCovers(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.script(func(payment string, times int) (int, string) {
		if times == 1 { // Another look-up, which began before the notification, is answered first.
			if _, err := r.statuses.Append(r.Ctx, r.Unit(payment), r.last(payment), order.Observation{
				Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Status: order.Pending, ProviderStatus: "pending", Confirmed: true,
			}, ""); err != nil {
				t.Error(err)
			}
		}
		return http.StatusOK, `{"payment":"p","order":"o","status":"paid","amount":1000,"refunded":0}`
	})
	if err := r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: 7, Cause: order.CauseOperator, Reason: "operator",
		DueAt: time.Now().Add(time.Hour).UTC(),
	}); err != nil {
		t.Fatal(err)
	}
	r.fire("p")
	if got := r.lookups("p"); got != 2 {
		t.Errorf("the provider was asked %d times, want 2", got)
	}
	if got := r.last("p").Observation; got.Status != order.Paid || got.Covers < 7 {
		t.Errorf("the last observation is %+v", got)
	}
}
