package publish

import "time"

// rateWindow is how long acks are counted before they make a rate. It is longer than a
// hiccup of a disk, which says nothing of the messages after it. A guess.
const rateWindow = 250 * time.Millisecond

// ackRate measures how fast the broker acks while it has messages to ack.
type ackRate struct {
	since    time.Time // Start of the current window.
	acked    int       // Messages acked in the current window.
	rate     float64   // Messages per second in the last complete window, 0 for unknown.
	previous float64   // Messages per second in the window before that.
}

// restart begins a measurement after a time without messages.
func (r *ackRate) restart(now time.Time) { *r = ackRate{since: now} }

// add counts acked messages.
func (r *ackRate) add(messages int, now time.Time) {
	r.acked += messages
	if took := now.Sub(r.since); took >= rateWindow {
		*r = ackRate{since: now, rate: float64(r.acked) / took.Seconds(), previous: r.rate}
	}
}

// wait estimates how long a message waits behind that many others. The faster of the last
// two windows counts, because one slow window may be a stall that is over. A window that
// lasts for more than two is a stall that goes on, and counts as it is.
func (r *ackRate) wait(before int, now time.Time) time.Duration {
	rate := max(r.rate, r.previous)
	if took := now.Sub(r.since); took > 2*rateWindow || rate == 0 && took > rateWindow {
		rate = float64(r.acked+1) / took.Seconds()
	}
	if rate == 0 {
		return 0
	}
	return time.Duration(float64(before) / rate * float64(time.Second))
}
