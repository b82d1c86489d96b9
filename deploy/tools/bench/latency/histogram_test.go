package latency_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"arauto/deploy/tools/bench/latency"
)

func TestQuantilesAreThoseOfTheSortedValuesWithinOnePercent(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() time.Duration{
		"nanoseconds": func() time.Duration { return time.Duration(random.IntN(300)) },
		"even":        func() time.Duration { return time.Duration(random.Int64N(int64(time.Second))) },
		"long tail":   func() time.Duration { return time.Duration(math.Exp(random.NormFloat64()*3 + 14)) },
	} {
		var h latency.Histogram
		var all []time.Duration
		for range 20_000 {
			d := draw()
			h.Add(d)
			all = append(all, d)
		}
		slices.Sort(all)
		for _, q := range []float64{0.0001, 0.5, 0.9, 0.99, 0.999, 1} {
			want := all[int(math.Ceil(q*float64(len(all))))-1]
			got := h.Quantile(q)
			if got < want || float64(got) > float64(want)*1.008+1 {
				t.Errorf("%s: quantile %v is %v, sorted it is %v", name, q, got, want)
			}
		}
		if h.Quantile(1) != all[len(all)-1] {
			t.Errorf("%s: the longest is %v, want %v", name, h.Quantile(1), all[len(all)-1])
		}
	}
}

func TestMergedHistogramsAreOne(t *testing.T) {
	t.Parallel()
	var one, two, both latency.Histogram
	for i := range 1000 {
		d := time.Duration(i*i) * time.Microsecond
		both.Add(d)
		if i%3 == 0 {
			one.Add(d)
		} else {
			two.Add(d)
		}
	}
	one.Merge(&two)
	if one.Summary() != both.Summary() || one.Total() != 1000 {
		t.Errorf("merged %+v, together %+v", one.Summary(), both.Summary())
	}
}

func TestHistogramTakesWhatItCannotTellApart(t *testing.T) {
	t.Parallel()
	var h latency.Histogram
	if got := h.Summary(); got != (latency.Summary{}) {
		t.Errorf("an empty one says %+v", got)
	}
	h.Add(-time.Second)
	h.Add(100 * time.Hour)
	if h.Quantile(0.5) != 0 || h.Total() != 2 || h.Summary().Max != 100*time.Hour {
		t.Errorf("got %+v", h.Summary())
	}
}
