package lookup

import (
	"context"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/wait"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/retry"
)

const (
	// resumeEvery is how often a worker looks for a circuit that has closed. It is that of the
	// cache, which is known to be up to date within it.
	resumeEvery = 500 * time.Millisecond
	// resumeAhead is how far ahead of their due times look-ups are brought forward. A guess:
	// two rounds. If the circuit opens again so much is in vain.
	resumeAhead = time.Second
	// resumeMost bounds how many look-ups of an account are brought forward a second. A guess:
	// each costs the broker a read and three writes, so it takes a third of two cores.
	resumeMost = 200
	// resumeReads bounds how many scheduled look-ups are read in a round, because those with
	// other reasons are read too. A guess: a tenth of a core.
	resumeReads = 500
	// resumeWriters is how many look-ups are brought forward at once. A guess.
	resumeWriters = 16
	// resumeQueue is how long the queue of the account's rate limit may be. Above it nothing is
	// brought forward, so that fresh notifications need not wait longer.
	resumeQueue = time.Second
	// resumeSettle is how long after the closing the last look-up may be deferred for it: by a
	// worker that knows of the closing late. A guess, ten times what that takes.
	resumeSettle = 5 * time.Second
)

// Resume brings the look-ups forward that wait for an account's circuit breakers, once these
// have closed: the oldest first, at the account's rate limit. Else each would be made at the
// time over which they were spread while the circuit was open, minutes later.
//
// One worker at a time does it, by a record on CIRCUITS. If it ends, another one goes on, and
// without any each look-up is still due at its own time. A look-up that fires meanwhile, or
// is scheduled for another reason, is left as it is.
type Resume struct {
	Worker   *Worker
	Circuits *breaker.Store
	Within   func(ctx context.Context, do func(context.Context) error) error // Calls do or leaves it out, such as hold.Gate.Round does; nil: calls it.
	accounts map[string]*resuming
}

// resuming is what a worker knows of the resumption of one account.
type resuming struct {
	done breaker.Closing // The closing of which no look-up is left.
	next time.Time       // When the last look-up that was brought forward is due.
}

// Run runs a round twice a second until ctx ends.
func (r *Resume) Run(ctx context.Context) error {
	for wait.For(ctx, resumeEvery) {
		r.Round(ctx)
	}
	return nil
}

// Round brings forward what is due within the next second, of every account. A failure is
// logged, and the next round does the same.
func (r *Resume) Round(ctx context.Context) {
	if r.accounts == nil {
		r.accounts = map[string]*resuming{}
	}
	for account := range r.Worker.setup().Accounts {
		if r.accounts[account] == nil {
			r.accounts[account] = &resuming{}
		}
		if err := r.resume(ctx, account, r.accounts[account]); err != nil && ctx.Err() == nil && !stream.IsConflict(err) {
			r.Worker.Log.Warn("resumption.failed", zap.String("provider", r.Worker.Provider.Name), zap.String("account", account), zap.Error(err))
		}
	}
}

func (r *Resume) resume(ctx context.Context, account string, state *resuming) error {
	w := r.Worker
	closing, closed := w.Outage.Closing(account)
	if !closed || closing.Sequence == 0 || closing == state.done {
		return nil
	}
	if limit := w.setup().Rates[account]; limit != nil && limit.Queued() > resumeQueue {
		return nil
	}
	do := func(ctx context.Context) error { return r.bringForward(ctx, account, closing, state) }
	if r.Within == nil {
		return do(ctx)
	}
	return r.Within(ctx, do)
}

// bringForward does the part of an account's resumption that is due within the next second,
// unless another worker does it.
func (r *Resume) bringForward(ctx context.Context, account string, closing breaker.Closing, state *resuming) error {
	w := r.Worker
	was, err := r.Circuits.ReadResumption(ctx, w.Provider.Name, account)
	if err != nil {
		return err
	}
	claim, mine := was.For(w.Circuits.Name, closing, w.Now())
	if !mine {
		if was.Closed == closing.Sequence && was.Done {
			state.done = closing
		}
		return nil
	}
	if was.By != claim.By || was.Closed != claim.Closed {
		if claim, err = r.Circuits.WriteResumption(ctx, w.Provider.Name, account, claim); err != nil {
			return err
		}
	}
	var end bool
	if claim.Through, end, err = r.page(ctx, account, closing, state, claim.Through); err != nil {
		return err
	}
	claim.Done = end && w.Now().Sub(closing.At) > resumeSettle
	if _, err = r.Circuits.WriteResumption(ctx, w.Provider.Name, account, claim); err == nil && claim.Done {
		state.done = closing
		w.Log.Info("resumption.finished", zap.String("provider", w.Provider.Name), zap.String("account", account), zap.Duration("took", w.Now().Sub(closing.At)))
	}
	return err
}

// page brings forward the look-ups above a sequence that are due within the next second at
// the account's pace. It returns the sequence up to which it is done, which stays if a write
// failed, and whether there are none behind it.
func (r *Resume) page(ctx context.Context, account string, closing breaker.Closing, state *resuming, above uint64) (through uint64, end bool, err error) {
	w, now := r.Worker, r.Worker.Now()
	state.next = later(state.next, now)
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(resumeWriters)
	through = above
	for range resumeReads {
		var entry retry.Entry
		if entry, err = w.Retries.NextParked(ctx, w.Provider.Name, account, through); err != nil {
			break
		}
		if entry.Sequence == 0 {
			end = true
			break
		}
		at := state.next.Add(r.interval(account))
		if waits := !entry.Unreadable && retry.WaitsForCircuit(entry.Parked); waits && entry.Parked.DueAt.After(at) {
			if is, still := w.Outage.Closing(account); !still || is != closing || at.Sub(now) > resumeAhead {
				break
			}
			state.next = at
			group.Go(func() error {
				p := entry.Parked
				p.DueAt = at.UTC()
				_, err := w.Retries.ScheduleOver(writing, entry, retry.Resume, p)
				return err
			})
		}
		through = entry.Sequence
	}
	if failed := group.Wait(); failed != nil {
		return above, false, failed
	}
	return through, end, err
}

// interval is the time between two look-ups of an account.
func (r *Resume) interval(account string) time.Duration {
	rate := resumeMost
	if limit := r.Worker.setup().Rates[account]; limit != nil {
		rate = min(rate, limit.Rate())
	}
	return time.Second / time.Duration(rate)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
