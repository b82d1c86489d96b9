package privacy

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/workertest"
)

// A look-up that was made is removed, and not overwritten: it stays in its block of
// LOOKUP_RETRIES while another one of the block is scheduled. OPERATING.md says so. If the
// first half fails, the broker overwrites what a work queue removes; then say so there.
func TestLookUpThatWasMadeStaysUntilItsBlockIsEmpty(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	bench := workertest.Bench{Bench: b.Bench}
	schedule := func(payment string, in time.Duration) {
		bench.Schedule(record.ScheduledLookUp{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment,
			Cause: order.CauseSweep, Reason: "sweep", DueAt: time.Now().Add(in).UTC(),
		})
	}
	schedule("other-1", time.Hour)
	schedule(firstPayment, 0)
	consumer, err := b.JS.Consumer(b.Ctx, subject.LookupRetries, subject.LookupDueConsumer("sandbox"))
	b.Must(err)
	due, err := consumer.Next(jetstream.FetchContext(b.Ctx))
	b.Must(err)
	b.Must(due.DoubleAck(b.Ctx))
	b.Until("the look-up to be removed", func() bool { return len(b.Messages(subject.LookupRetries, ">")) == 1 })
	there := newSearch(t, erasedTexts()[:1])
	held := func() (held bool) {
		eachFile(t, b.Server.JetStreamConfig().StoreDir, func(_ string, data []byte) { held = held || there.finds(data) })
		return held
	}
	if !held() {
		t.Error("nothing of a look-up that was made is left")
	}
	retries := b.Stream(subject.LookupRetries)
	for _, raw := range b.Messages(subject.LookupRetries, ">") {
		b.Must(retries.DeleteMsg(b.Ctx, raw.Sequence))
	}
	if held() {
		t.Error("something of it is left although the stream is empty")
	}
}
