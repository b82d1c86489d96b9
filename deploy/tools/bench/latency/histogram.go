// Package latency counts how long things took, with a bounded error and a
// bounded size, so that a load generator can count millions of them.
package latency

import (
	"math/bits"
	"time"
)

// precision is how many bits of a value are kept: values are off by less than
// one part in 2^precision, which is 0.8 %.
const precision = 7

// cells is how many counters cover every duration up to maximum.
const cells = (maximumBits - precision + 1) << precision

// maximumBits bounds what is told apart: 2^40 ns are 18 minutes.
const maximumBits = 40

// Histogram counts durations in cells whose width grows with the value. The
// zero Histogram is empty and ready. It is not safe for concurrent use.
type Histogram struct {
	counts [cells]uint32
	total  uint64
	most   time.Duration
}

// Add counts one duration. A negative one counts as none.
func (h *Histogram) Add(d time.Duration) {
	h.counts[cell(uint64(max(d, 0)))]++
	h.total++
	h.most = max(h.most, d)
}

// Merge counts everything that other has counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.most = max(h.most, other.most)
}

// Total is how many durations were counted.
func (h *Histogram) Total() uint64 { return h.total }

// Quantile is the duration that the share q of all durations, such as 0.99,
// did not exceed: the upper end of its cell, and never more than the longest.
// It is 0 when nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := uint64(q*float64(h.total) + 0.999999999)
	rank = min(max(rank, 1), h.total)
	var seen uint64
	for i, n := range h.counts {
		if seen += uint64(n); seen >= rank {
			return min(upper(i), h.most)
		}
	}
	return h.most
}

// cell is the index of a value's counter: exact below 2^precision, and from
// there 2^precision cells for every doubling.
func cell(ns uint64) int {
	extra := bits.Len64(ns) - precision - 1
	if extra <= 0 {
		return int(ns)
	}
	return min(extra<<precision+int(ns>>extra), cells-1)
}

// upper is the largest value of a cell.
func upper(i int) time.Duration {
	extra := i>>precision - 1
	if extra <= 0 {
		return time.Duration(i)
	}
	low := i - extra<<precision
	return time.Duration((low+1)<<extra - 1)
}

// Summary is what a table shows of a Histogram. Times are in nanoseconds in
// JSON.
type Summary struct {
	Count uint64        `json:"count"`
	P50   time.Duration `json:"p50"`
	P99   time.Duration `json:"p99"`
	P999  time.Duration `json:"p999"`
	Max   time.Duration `json:"max"`
}

// Summary sums the histogram up.
func (h *Histogram) Summary() Summary {
	return Summary{
		Count: h.total, P50: h.Quantile(0.5), P99: h.Quantile(0.99), P999: h.Quantile(0.999), Max: h.most,
	}
}
