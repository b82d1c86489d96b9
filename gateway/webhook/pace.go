package webhook

import "time"

// When notifications travel together, and for how long a batch is put off.
const (
	// overtaking is how many do not wait for those on their way alone before
	// they go as a batch, and holding is for how long the others do.
	overtaking = 24
	holding    = 50 * time.Millisecond
	// maxBatch and maxBatchBytes bound a batch. The broker's own limit is 1,000
	// messages.
	maxBatch      = 1000
	maxBatchBytes = 2 << 20
	// crowd is how many make a batch that is not put off any more: its fixed cost
	// is then small beside the rest, and while the broker works on it those who
	// were answered come back.
	crowd = 64
	// minGather and maxGather bound how long the next batch is put off after a
	// batch was confirmed, so that those who were answered can come back and
	// travel with those who waited. Without it closed-loop clients fall apart
	// into two cohorts, and each batch carries only half of them.
	minGather = 200 * time.Microsecond
	maxGather = 2 * time.Millisecond
	// gatherShare is the part of the last batch's time that may be spent so: a
	// third, which is about how long the answered of a small batch take.
	gatherShare = 3
)

// lingerFor is how long the next batch is put off after one that took so long.
func lingerFor(took time.Duration) time.Duration {
	return min(max(took/gatherShare, minGather), maxGather)
}

// rateWindow is how long confirmations are counted before they make a rate. It
// is longer than the hiccups of a disk, which must not look like the speed of
// all that is to come.
const rateWindow = 250 * time.Millisecond

// ackRate is how fast the broker confirms while it has something to do.
type ackRate struct {
	since     time.Time // When this window began.
	confirmed int       // In this window.
	rate      float64   // Messages a second in the last whole window, 0 for unknown.
	before    float64   // The same in the window before that.
}

// begin starts anew after a time in which there was nothing to confirm.
func (p *ackRate) begin(now time.Time) { *p = ackRate{since: now} }

// add takes note that so many messages were confirmed.
func (p *ackRate) add(messages int, now time.Time) {
	p.confirmed += messages
	if took := now.Sub(p.since); took >= rateWindow {
		*p = ackRate{since: now, rate: float64(p.confirmed) / took.Seconds(), before: p.rate}
	}
}

// wait is about how long a message waits that finds so many before it. One slow
// window is a stall that is over, two are the broker's pace. A window that has
// gone on for too long counts as it is: the broker has stalled now.
func (p *ackRate) wait(before int, now time.Time) time.Duration {
	rate := max(p.rate, p.before)
	if took := now.Sub(p.since); took > 2*rateWindow || rate == 0 && took > rateWindow {
		rate = float64(p.confirmed+1) / took.Seconds()
	}
	if rate == 0 {
		return 0
	}
	return time.Duration(float64(before) / rate * float64(time.Second))
}
