package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what to send.
type Options struct {
	Address     string // host:port of what is measured.
	Connections int
	Span        Span

	// PerConnection is how many requests a connection carries: 1 sends
	// `connection: close` with each and opens a new one for the next, as PicPay
	// Checkout's client does. 0 is any number.
	PerConnection int

	// Rate makes it an open loop: so many requests per second are due at even
	// times, whether or not the ones before have been answered, and are timed
	// from when they are due. 0 is a closed loop: each connection sends its next
	// request when it has the answer to the last.
	Rate float64
	// Lag is how late a request of an open loop may be sent; past it, it is
	// given up and counted. 0 sends every one, however late.
	Lag time.Duration
	// Group is the payments' group in an open loop.
	Group uint16
	// Started, if set, is called when the schedule of an open loop begins.
	Started func(time.Time)

	// Accepted is the file to which the ids of accepted payments are written,
	// one a line, after the run; none if empty.
	Accepted string
}

// Run connects, sends until the span is over, and says what came of it. Begin
// and End go to out, see Drive.
func Run(ctx context.Context, out io.Writer, o Options) (Report, error) {
	if o.Connections < 1 || o.Connections > 1<<16 || o.Span.For <= 0 {
		return Report{}, errors.New("a load needs 1 to 65536 connections and a time")
	}
	callers, err := connect(ctx, o)
	defer func() {
		for _, c := range callers {
			c.hangUp()
		}
	}()
	if err != nil {
		return Report{}, err
	}
	var accepted ids
	work := closed(o, callers, &accepted)
	if o.Rate > 0 {
		work = open(o, callers, &accepted)
	}
	if o.Started != nil {
		o.Started(time.Now())
	}
	report, err := Drive(ctx, out, o.Span, o.Connections, work)
	if err != nil {
		return report, err
	}
	return report, accepted.write(o.Accepted)
}

// connect makes the callers and opens the connections that stay.
func connect(ctx context.Context, o Options) ([]*caller, error) {
	deadline := time.Now().Add(o.Span.Warm + o.Span.For + patience)
	callers := make([]*caller, o.Connections)
	problems := make([]error, o.Connections)
	var dialing sync.WaitGroup
	for i := range callers {
		c := &caller{
			address: o.Address, deadline: deadline, single: o.PerConnection,
			request: render(o.Address, connection(o.PerConnection)),
		}
		callers[i] = c
		if o.PerConnection != 1 {
			dialing.Go(func() { problems[i] = c.dial(ctx) })
		}
	}
	dialing.Wait()
	if err := errors.Join(problems...); err != nil {
		return callers, fmt.Errorf("connect: %w", err)
	}
	return callers, nil
}

// closed sends on each connection whenever it is free.
func closed(o Options, callers []*caller, accepted *ids) func(context.Context, int, *Tally) {
	return func(ctx context.Context, i int, t *Tally) {
		c := callers[i]
		var mine []string
		for n := uint64(0); ctx.Err() == nil; n++ {
			sent := t.Now()
			if sent >= t.end {
				break
			}
			c.request.address(uint16(i), n)
			status, problem := c.post(ctx)
			t.Answered(Result{Due: sent, Sent: sent, Done: t.Now(), Status: status, Problem: problem})
			if status == 200 && o.Accepted != "" {
				mine = append(mine, PaymentID(uint16(i), n))
			}
		}
		accepted.add(mine)
	}
}

// open sends when a request is due. Each free connection takes the next one
// of the schedule and waits for its time.
func open(o Options, callers []*caller, accepted *ids) func(context.Context, int, *Tally) {
	var next atomic.Uint64
	return func(ctx context.Context, i int, t *Tally) {
		c := callers[i]
		var mine []string
		for ctx.Err() == nil {
			n := next.Add(1) - 1
			due := time.Duration(float64(n) / o.Rate * float64(time.Second))
			if due >= t.end {
				break
			}
			if early := due - t.Now(); early > 0 && Pause(ctx, early) != nil {
				break
			}
			sent := t.Now()
			if o.Lag > 0 && sent-due > o.Lag {
				t.Late()
				continue
			}
			c.request.address(o.Group, n)
			status, problem := c.post(ctx)
			t.Scheduled(Result{Due: due, Sent: sent, Done: t.Now(), Status: status, Problem: problem})
			if status == 200 && o.Accepted != "" {
				mine = append(mine, PaymentID(o.Group, n))
			}
		}
		accepted.add(mine)
	}
}

// ids are the accepted payments.
type ids struct {
	mu  sync.Mutex
	all []string
}

func (s *ids) add(some []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, some...)
}

func (s *ids) write(name string) error {
	if name == "" {
		return nil
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("create list of accepted payments: %w", err)
	}
	w := bufio.NewWriter(file)
	for _, id := range s.all {
		_, _ = w.WriteString(id + "\n") // Flush says whether it failed.
	}
	if err := errors.Join(w.Flush(), file.Close()); err != nil {
		return fmt.Errorf("write list of accepted payments: %w", err)
	}
	return nil
}
