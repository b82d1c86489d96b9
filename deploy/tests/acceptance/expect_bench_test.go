package acceptance

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkExpectedPayments drops every webhook of 10,000 expected payments, which the
// provider changes within 12 minutes by a clock that is turned four times as fast. The delays
// are those of the turned clock, from the provider's change to the event.
func BenchmarkExpectedPayments(b *testing.B) {
	const scale = 4
	for b.Loop() {
		d := dropWebhooks(startExpecting(b, scale), 10_000, scale, 12*time.Minute)
		over := 0
		for _, n := range d.lookups {
			if n > 6 {
				over++
			}
		}
		b.ReportMetric(d.delays[len(d.delays)/2].Seconds(), "s_p50")
		b.ReportMetric(d.delays[len(d.delays)*99/100].Seconds(), "s_p99")
		b.ReportMetric(d.delays[len(d.delays)-1].Seconds(), "s_max")
		b.ReportMetric(float64(slices.Max(d.lookups)), "lookups_max")
		b.ReportMetric(float64(over), "payments_over_6")
		if p99 := d.delays[len(d.delays)*99/100]; p99 > 5*time.Minute || over > 0 {
			b.Errorf("the p99 is %v, and %d payments were looked up more than 6 times; want at most 5m and none", p99, over)
		}
	}
}

// BenchmarkPlantedFaults plants 500 faults among 10,000 expected payments.
func BenchmarkPlantedFaults(b *testing.B) {
	for b.Loop() {
		total, found, wrong := plantFaults(startExpecting(b, 1), 10_000)
		b.ReportMetric(float64(total), "faults")
		b.ReportMetric(float64(found), "found")
		b.ReportMetric(float64(len(wrong)), "false")
		if total != 500 || found != total || len(wrong) > 0 {
			b.Errorf("of %d faults %d were found, and %d outcomes are wrong; want 500, all and none", total, found, len(wrong))
		}
		for _, w := range wrong[:min(len(wrong), 10)] {
			b.Log(w)
		}
	}
}
