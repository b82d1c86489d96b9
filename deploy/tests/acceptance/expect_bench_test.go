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
	}
}

// BenchmarkPlantedFaults plants 500 faults among 10,000 expected payments.
func BenchmarkPlantedFaults(b *testing.B) {
	for b.Loop() {
		total, found, wrong := plantFaults(startExpecting(b, 1), 10_000)
		b.ReportMetric(float64(total), "faults")
		b.ReportMetric(float64(found), "found")
		b.ReportMetric(float64(len(wrong)), "false")
		for _, w := range wrong[:min(len(wrong), 10)] {
			b.Log(w)
		}
	}
}
