package stale_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
)

const (
	// others is how many payments the full store has, with two events each: more than the
	// 64 k subjects from which on nats-server walks a stream.
	others = 50_000
	// most is how many times as long an idle round may take in the full store. A guess.
	most = 10
)

// BenchmarkRoundInAFullStore has a sweeper read a full store, and reports how many times as
// long its rounds take then in which nothing is due, beside those of an almost empty store,
// how long an event takes, and how long it takes to read them one by one, as sweep did before.
func BenchmarkRoundInAFullStore(b *testing.B) {
	for b.Loop() {
		r := &rig{Broker: testbench.Start(b, "sandbox")}
		var err error
		r.retries, err = retry.Open(r.Ctx, r.JS, r.Tokens)
		r.Must(err)
		r.fill(0, 10)
		s := r.sweeper(r.JS)
		idle := func() time.Duration {
			r.Must(s.Round(r.Ctx))
			took := make([]time.Duration, 21)
			for i := range took {
				began := time.Now()
				r.Must(s.Round(r.Ctx))
				took[i] = time.Since(began)
			}
			slices.Sort(took)
			return took[len(took)/2]
		}
		small := idle()
		r.fill(10, others)
		began := time.Now()
		r.Must(s.Round(r.Ctx))
		read := time.Since(began)
		orders := r.Stream(subject.Orders)
		began = time.Now()
		for above := uint64(0); ; {
			raw, err := stream.Next(r.Ctx, orders, stream.All, above)
			r.Must(err)
			if raw == nil {
				break
			}
			above = raw.Sequence
			_, err = observations.EventOf(raw)
			r.Must(err)
		}
		single := time.Since(began)
		b.ReportMetric(float64(single.Microseconds())/(2*others), "µs/event-one-by-one")
		b.ReportMetric(float64(single)/float64(read), "one-by-one-ratio")
		ratio := float64(idle()) / float64(small)
		b.ReportMetric(ratio, "idle-ratio")
		b.ReportMetric(float64(read.Microseconds())/(2*others), "µs/event")
		if ratio > most {
			b.Errorf("a round in which nothing is due takes %.0f times as long in a full store", ratio)
		}
		r.Must(r.Stream(subject.Orders).Purge(r.Ctx)) // The broker's clean-up reads what is stored, one by one.
	}
}

// BenchmarkQuietProviderInAFullStore judges the notifications of a provider that has none
// that are new, and finds the first one of a time, before and after many of another provider
// are stored.
func BenchmarkQuietProviderInAFullStore(b *testing.B) {
	for b.Loop() {
		r := &rig{Broker: testbench.Start(b, "sandbox")}
		var err error
		r.retries, err = retry.Open(r.Ctx, r.JS, r.Tokens)
		r.Must(err)
		floor := r.notify("p")
		r.observe("p", order.Paid, floor)
		s := r.sweeper(r.JS)
		ask := map[string]func(){
			"judge": func() {
				judged, err := s.Unprocessed(r.Ctx, "sandbox", floor, time.Now())
				r.Must(err)
				if judged != floor {
					b.Fatalf("judged up to %d of %d", judged, floor)
				}
			},
			"search": func() {
				_, err := stream.Since(r.Ctx, r.Stream(subject.Notifications), time.Now(), floor+2*others)
				r.Must(err)
			},
		}
		middle := func(name string) time.Duration {
			took := make([]time.Duration, 21)
			for i := range took {
				began := time.Now()
				ask[name]()
				took[i] = time.Since(began)
			}
			slices.Sort(took)
			return took[len(took)/2]
		}
		small := map[string]time.Duration{"judge": middle("judge"), "search": middle("search")}
		body := make([]byte, 1<<10)
		for i := range 2 * others {
			_, err := r.JS.PublishAsync(fmt.Sprintf("notifications.picpay.default.p%d", i), body)
			r.Must(err)
			if i%1000 == 0 {
				<-r.JS.PublishAsyncComplete()
			}
		}
		<-r.JS.PublishAsyncComplete()
		for name, before := range small {
			ratio := float64(middle(name)) / float64(before)
			b.ReportMetric(ratio, name+"-ratio")
			if ratio > most {
				b.Errorf("%s takes %.0f times as long in a full store", name, ratio)
			}
		}
		r.Must(r.Stream(subject.Notifications).Purge(r.Ctx))
	}
}

// fill stores payments that were pending and are paid.
func (r *rig) fill(from, to int) {
	r.T.Helper()
	for i := from; i < to; i++ {
		payment := fmt.Sprintf("payment-%d", i)
		var last *order.Event
		for transition, status := range []order.Status{order.Pending, order.Paid} {
			e := order.Announce(last, r.observation(payment, status, time.Now()), uint64(transition+1), order.Standing{Kind: order.Payment, Status: status}) //nolint:gosec // An index.
			last = &e
			body, err := json.Marshal(e)
			r.Must(err)
			_, err = r.JS.PublishAsync(r.Unit(payment).Event(payment, status), body)
			r.Must(err)
		}
		if i%500 == 0 {
			<-r.JS.PublishAsyncComplete()
		}
	}
	<-r.JS.PublishAsyncComplete()
}
