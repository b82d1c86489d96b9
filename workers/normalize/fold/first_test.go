package fold_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// expire removes the payment's observations, as their maximum age does long before that
// of the events. The next observation is then the first again.
func (b bench) expire(t *testing.T, payment string) {
	t.Helper()
	stream, err := b.JS.Stream(b.Ctx, subject.Statuses)
	testbench.Must(t, err)
	testbench.Must(t, stream.Purge(b.Ctx, jetstream.WithPurgeSubject(b.Unit(payment).Status())))
}

// Each step has a new worker, without a cache.
func TestFirstObservationAfterExpiryFollowsTheLastEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	handle := func(m *testbench.Delivered) {
		t.Helper()
		for range 2 { // Redelivery changes nothing.
			testbench.Must(t, b.worker(t, b.JS).Handle(b.Ctx, m))
		}
		b.expire(t, "o-9")
	}
	fold := func(word string, refunded int64) { t.Helper(); handle(b.observe(t, "o-9", word, refunded)) }
	fold("pending", 0)
	fold("paid", 0)
	fold("pending", 0) // Late, by the event alone.
	// Not a status of a payment, and there is no look-up: a dead letter that names the published status.
	body, err := json.Marshal(order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "o-9", Order: "o-9",
		Status: order.Authenticated, ProviderStatus: "authenticated", Cause: order.CauseNotification,
	})
	testbench.Must(t, err)
	handle(b.deliver(t, &nats.Msg{Subject: b.Unit("o-9").Status(), Data: body}, jetstream.WithExpectLastSequencePerSubject(0)))
	fold("partially_refunded", 3000) // A transition of a payment that was paid.
	fold("partially_refunded", 3000) // Unchanged.
	if got := summary(b.log(t, "o-9")); strings.Join(got, ", ") != "1 nothing>pending 0, 2 pending>paid 0, 3 paid>partially_refunded 3000" {
		t.Errorf("the log is %v", got)
	}
	deadLetters := b.deadLetters(t, "o-9")
	if len(deadLetters) != 1 || !strings.Contains(deadLetters[0].Cause, string(order.Paid)) {
		t.Errorf("dead letters are %+v", deadLetters)
	}
}
