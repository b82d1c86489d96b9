package scale_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/schemas/order"
)

// moved is how many payments have left the state in which they are looked at
// most often.
const moved = 20_000

// BenchmarkSweepMoved prints what payments cost a sweeper that were pending once
// and have been paid since, which is what nearly all become: the round that finds
// it out, as the first one after a start does, and every round after that.
func BenchmarkSweepMoved(b *testing.B) {
	for b.Loop() {
		p := build(b, 3*time.Minute)
		p.publish(2*moved, func(i int) *nats.Msg {
			payment := fmt.Sprintf("moved-%d", i/2)
			if i%2 == 0 {
				return p.event(payment, 1, order.Pending)
			}
			return p.event(payment, 2, order.Paid)
		})
		ahead := 10 * time.Minute
		s := p.sweeper(func() time.Time { return time.Now().Add(ahead) })
		first := p.lookAgain(s)
		ahead += 2 * time.Minute
		next := p.lookAgain(s)
		if got := p.parked(); got != 0 {
			b.Fatalf("%d payments were made due, want none", got)
		}
		b.Logf("\na round that finds that each of %d payments has moved on takes %.1f s, the next one %.4f s",
			moved, first.Seconds(), next.Seconds())
		for unit, value := range map[string]float64{"ns/op": 0, "first-s@20k": first.Seconds(), "next-s@20k": next.Seconds()} {
			b.ReportMetric(value, unit)
		}
	}
}
