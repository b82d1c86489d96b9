package expect_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// The role runs everywhere, because its consumer keeps events from being compacted. Where no
// payment is expected an event costs it one request.
func TestEventWhereNothingIsExpectedCostsOneRequest(t *testing.T) {
	t.Parallel()
	r := open(t, 1)
	r.says("p", state{status: "paid"})
	r.lookUpAndFold()
	r.Notify(record.Notification{Payment: "p"})
	r.Until("the event", func() bool { return len(r.events("p")) == 1 })
	consumer, err := r.JS.Consumer(r.Ctx, subject.Orders, subject.ExpectConsumer)
	r.Must(err)
	m, err := consumer.Next()
	r.Must(err)
	requests := make(chan *nats.Msg, 100)
	for _, on := range []string{"$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.EXPECTATIONS", "$JS.API.STREAM.MSG.GET.OUTCOMES"} {
		_, err := r.NC.ChanSubscribe(on, requests)
		r.Must(err)
	}
	r.Must(r.NC.Flush())
	r.Must(r.worker.Handle(r.Ctx, m))
	r.Must(r.NC.Flush())
	if n := len(requests); n != 1 {
		t.Errorf("%d requests", n)
	}
}
