package fold_test

import (
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
)

// Sweep removes a payment's events long after the last one.
func TestALogSaysThatItMayHaveBeenRemoved(t *testing.T) {
	t.Parallel()
	lately, long := time.Now().Add(-time.Hour), time.Now().Add(-500*24*time.Hour)
	before := time.Now().Add(-48 * time.Hour)
	for name, tc := range map[string]struct {
		status   order.Status
		occurred *time.Time
		never    bool // Nothing is removed.
		want     bool
	}{
		"paid at a time that is not known":  {status: order.Paid, want: true},
		"paid long ago":                     {status: order.Paid, occurred: &long, want: true},
		"paid lately":                       {status: order.Paid, occurred: &lately},
		"paid before what was once removed": {status: order.Paid, occurred: &before, want: true},
		"refunded lately":                   {status: order.Refunded, occurred: &lately, want: true},
		"pending":                           {status: order.Pending},
		"paid, and nothing is removed":      {status: order.Paid, never: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			w := b.worker(t, b.JS)
			if !tc.never {
				w.RemoveAfter = 400 * 24 * time.Hour
			}
			sequence := b.Publish(b.Unit("p").Status(), order.Observation{
				Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Order: "p", Status: tc.status, ProviderStatus: string(tc.status),
				Confirmed: true, Cause: order.CauseNotification, OccurredAt: tc.occurred, AskedAt: time.Now(), AnsweredAt: time.Now(),
			})
			testbench.Must(t, w.Handle(b.Ctx, b.Delivered("STATUSES", sequence)))
			if log := b.log(t, "p"); len(log) != 1 || log[0].Restarted != tc.want {
				t.Errorf("the log is %+v, want restarted: %v", log, tc.want)
			}
		})
	}
}
