package lookup_test

import (
	"net/http"
	"testing"

	"github.com/nats-io/nats.go"

	"arauto/workers/internal/ratelimit"
)

// roundTrips counts the reads from the broker and the writes to it that a step costs.
func (r *rig) roundTrips(step func()) (reads, writes int) {
	r.T.Helper()
	count := func(subjects ...string) (stop func() int) {
		seen := make(chan *nats.Msg, 100)
		var taps []*nats.Subscription
		for _, on := range subjects {
			tap, err := r.JS.Conn().ChanSubscribe(on, seen)
			r.Must(err)
			taps = append(taps, tap)
		}
		return func() int {
			for _, tap := range taps {
				r.Must(tap.Unsubscribe())
			}
			return len(seen)
		}
	}
	read, written := count("$JS.API.STREAM.MSG.GET.*", "$JS.API.STREAM.INFO.*"), count("statuses.>", "lookup.parked.>", "dead.>", "$JS.API.STREAM.MSG.DELETE.*")
	step()
	r.Must(r.JS.Conn().Flush())
	return read(), written()
}

// Each round trip costs the broker more than the provider's answer costs us.
func TestRoundTripsOfALookUp(t *testing.T) {
	t.Parallel()
	r := setup(t)
	check := func(name string, reads, writes int, step func()) {
		t.Helper()
		if gotReads, gotWrites := r.roundTrips(step); gotReads != reads || gotWrites != writes {
			t.Errorf("%s: %d reads and %d writes, want %d and %d", name, gotReads, gotWrites, reads, writes)
		}
	}
	notified := func(payment string) func() {
		m := r.notify(payment)
		return func() { r.Must(r.worker.HandleNotification(r.Ctx, m)) }
	}
	check("a new payment's webhook", 2, 1, notified("p"))
	check("one with the same answer, which gets a recheck", 3, 2, notified("p"))
	r.says("refunded", 10000, 10000)
	check("one with a new answer, which cancels the recheck", 3, 2, notified("p"))
	covered := r.notify("q")
	r.handle(r.notify("q"))
	check("a covered webhook", 2, 0, func() { r.Must(r.worker.HandleNotification(r.Ctx, covered)) })
	r.fails(http.StatusBadGateway)
	check("one whose look-up fails", 3, 1, notified("failing"))
	check("a retry that fails", 5, 2, func() { r.fire("failing") }) // One read and one write are the test's own.
	r.fails(http.StatusNotFound)
	r.handle(r.notify("unknown"))
	check("another one of an unknown payment", 2, 1, notified("unknown"))

	limited := ratelimit.Limit{Rate: 1, Burst: 1, Concurrency: 1}
	r.worker = r.limited(limited)
	r.handle(r.notify("first"))
	check("one above the rate limit", 2, 1, notified("flood"))
}
