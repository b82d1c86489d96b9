// Package load sends requests at a given rate, or as fast as they are
// answered, and counts their outcomes. It shares the machine with what it
// measures, so it does little work per request.
package load

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the schedule of a load.
type Options struct {
	Start time.Time     // When the load begins; at once by default.
	Warm  time.Duration // Not counted.
	For   time.Duration // The window that is counted, after the warm-up.

	// Rate makes the load an open loop: so many requests per second are due at
	// even times, whether or not earlier ones are answered, and are timed from
	// when they were due. 0 is a closed loop: each sender sends its next request
	// when it has the answer to the last.
	Rate   float64
	MaxLag time.Duration // How late a request of an open loop may be sent; a later one is not sent. 0 is no limit.
	Run    uint16        // The group of an open loop's payments.
	Keep   bool          // Collect the accepted payments in the report.

	Begin, End func() // Called when the window begins and ends; may be nil.
}

// Due is when request n of an open loop is to be sent, since the start.
func (o Options) Due(n uint64) time.Duration {
	return time.Duration(float64(n) / o.Rate * float64(time.Second))
}

// Counted reports whether a time since the start lies in the window.
func (o Options) Counted(at time.Duration) bool { return at >= o.Warm && at < o.Warm+o.For }

// Send performs one request and returns the status of its answer. Without a
// usable answer the status is 0 and the problem is a word for the reason. One
// goroutine calls it.
type Send func(ctx context.Context, p Payment) (status int, problem string)

// NotSent is the problem of a request that was not sent within MaxLag.
const NotSent = "not sent"

// driver is one running load.
type driver struct {
	Options
	next atomic.Uint64 // Requests of an open loop so far.

	mu     sync.Mutex
	report Report
}

// Drive runs all senders at once until the window is over. It fails only when
// ctx ends before.
func Drive(ctx context.Context, o Options, senders []Send) (Report, error) {
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	d := &driver{Options: o, report: Report{
		Window: o.For, Accepted: NewLatency(), Service: NewLatency(), Refused: NewLatency(), Failed: map[string]int{},
	}}
	var running sync.WaitGroup
	for i, send := range senders {
		running.Go(func() { d.work(ctx, uint16(i), send) })
	}
	d.at(ctx, o.Warm, o.Begin)
	d.at(ctx, o.Warm+o.For, o.End)
	running.Wait()
	return d.report, ctx.Err()
}

// at calls a function, if it is set, at a time since the start.
func (d *driver) at(ctx context.Context, at time.Duration, call func()) {
	if Pause(ctx, at-time.Since(d.Start)) == nil && call != nil {
		call()
	}
}

// work sends the requests of one sender.
func (d *driver) work(ctx context.Context, group uint16, send Send) {
	for n := uint64(0); ; n++ {
		p, due := Payment{Group: group, N: n}, time.Since(d.Start)
		if d.Rate > 0 {
			p = Payment{Group: d.Run, N: d.next.Add(1) - 1}
			due = d.Due(p.N)
		}
		if due >= d.Warm+d.For || Pause(ctx, due-time.Since(d.Start)) != nil {
			return
		}
		sent := time.Since(d.Start)
		if d.MaxLag > 0 && sent-due > d.MaxLag {
			d.count(p, due, sent, 0, NotSent)
			continue
		}
		status, problem := send(ctx, p)
		d.count(p, due, sent, status, problem)
	}
}

// count adds one outcome: in an open loop to the window in which the request
// was due, in a closed loop to that in which it was answered.
func (d *driver) count(p Payment, due, sent time.Duration, status int, problem string) {
	done := time.Since(d.Start)
	counted := d.Rate > 0 && d.Counted(due) || d.Rate == 0 && d.Counted(done)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case status == 0:
		d.report.Failed[problem]++
	case status != 200:
		d.report.Failed[strconv.Itoa(status)]++
		if counted {
			d.report.Refused.Add(done - sent)
		}
	default:
		d.report.Total++
		if d.Keep {
			d.report.Payments = append(d.report.Payments, p)
		}
		if counted {
			d.report.Accepted.Add(done - due)
			d.report.Service.Add(done - sent)
		}
	}
}

// Pause waits for a duration, or returns the error of a context that ends
// earlier.
func Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
