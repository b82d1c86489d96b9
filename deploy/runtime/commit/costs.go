package commit

import (
	"math"
	"time"
)

const (
	// costSamples is how many samples make a cost. The lowest counts, because whatever else
	// the machine does only adds to it. A guess.
	costSamples = 5
	// sampleTime is how long acks of messages alone are counted for a sample. Many acks share
	// a packet, so a shorter time says nothing. A guess.
	sampleTime = 10 * time.Millisecond
	// maxThreshold is the threshold until it is measured, and bounds it: that many messages
	// are worth a batch even where it is staged in files. Measured on two disks.
	maxThreshold = 24
	// marginalCost is the cost of one more message in a batch, as a part of a message's cost
	// alone: it is written, but not synced on its own. Measured on one disk.
	marginalCost = 0.2
)

// costs are what a message alone and a batch cost on one connection. They are measured
// once, from the first messages: a broker that stages batches in files on a disk takes ten
// times as long for one as a broker that stages them in memory.
type costs struct {
	alone, batch lowest        // Seconds per message while several are in flight; seconds of a batch beyond the marginal cost of its messages.
	from         time.Time     // The last ack, or when a message was sent while the broker had nothing to do.
	first        bool          // No ack came since then.
	busy         time.Duration // The time that the current sample's acks took.
	acks         int
}

// lowest is the lowest of a number of samples.
type lowest struct {
	value   float64
	samples int
}

func (l *lowest) add(value float64) {
	if l.samples++; l.samples == 1 || value < l.value {
		l.value = value
	}
}

// threshold is how many messages are worth a batch.
func (m *costs) threshold() int {
	switch {
	case m.alone.samples < costSamples:
		return maxThreshold
	case m.batch.samples < costSamples:
		return minBatchSize
	}
	threshold := math.Ceil(m.batch.value / (m.alone.value * (1 - marginalCost)))
	return int(min(max(threshold, minBatchSize), maxThreshold))
}

// sent records that a message is sent alone while none other is in flight.
func (m *costs) sent(now time.Time) { m.from, m.first = now, true }

// acked counts the ack of a message alone, with that many others in flight. Most of a lone
// message's time is the round trip, so it does not count.
func (m *costs) acked(left int, now time.Time) {
	if lone := m.first && left == 0; !lone {
		m.busy, m.acks = m.busy+now.Sub(m.from), m.acks+1
	}
	m.from, m.first = now, false
	if m.busy >= sampleTime && m.alone.samples < costSamples {
		m.alone.add(m.busy.Seconds() / float64(m.acks))
		m.busy, m.acks = 0, 0
	}
}

// batchAcked records a batch that the broker worked on alone. The fixed cost of a large one
// is lost in that of its messages.
func (m *costs) batchAcked(messages int, took time.Duration) {
	if m.alone.samples == costSamples && m.batch.samples < costSamples && messages <= 2*maxThreshold {
		m.batch.add(took.Seconds() - float64(messages)*marginalCost*m.alone.value)
	}
}
