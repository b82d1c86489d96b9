package lookup_test

import (
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/internal/observations"
)

// erase leaves the mark of an erased payment, which is refused for a time from now on.
func (r *rig) erase(provider, payment string, refused time.Duration) {
	r.T.Helper()
	until := time.Now().Add(refused).UTC()
	_, err := r.statuses.Append(r.Ctx, r.Tokens.Unit(provider, "default", payment), observations.Entry{},
		order.Observation{Provider: provider, Account: "default", RefusedUntil: &until}, "")
	r.Must(err)
}

// What a webhook says of an erased payment is dropped within the hour, whatever it is: a
// payment to look up, a payload, a type that is unknown.
func TestErasedPaymentIsRefused(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]record.Notification{
		"look-up":      {Provider: "sandbox", Payment: "p"},
		"unknown type": {Provider: "sandbox", Payment: "p", Unknown: "NEW"},
		"payload":      {Provider: "beeteller", Payment: "p", Order: "ref", Kind: order.Payout, Fields: map[string]string{"status": "PAID", "reference": "ref"}},
		"bad payload":  {Provider: "beeteller", Payment: "p", Order: "ref", Kind: order.Payout},
	} {
		for refused, dropped := range map[time.Duration]bool{time.Hour: true, -time.Second: false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := setupFor(t, n.Provider)
				r.erase(n.Provider, "p", refused)
				n := n
				n.ReceivedAt = time.Now()
				r.handle(r.store(n))
				letters := len(r.deadLetters())
				last, err := r.statuses.Last(r.Ctx, r.Tokens.Unit(n.Provider, "default", "p"))
				r.Must(err)
				if stored := letters > 0 || last.Observation.RefusedUntil == nil; stored == dropped {
					t.Errorf("refused for %v from then on: %d dead letters, the last observation is %+v", refused, letters, last.Observation)
				}
			})
		}
	}
}
