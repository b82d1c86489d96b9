package expect

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/wait"
	"arauto/schemas/subject"
	"arauto/workers/internal/duequeue"
	"arauto/workers/internal/panics"
)

const (
	// roundEvery is how often new and due expectations are searched. A guess: the first
	// look-up of an expected payment is made within seconds.
	roundEvery = 500 * time.Millisecond
	// roundRead and roundJudged bound a round, so that due expectations do not wait behind
	// the first reading of a million. Guesses: some seconds' work each.
	roundRead, roundJudged = 20_000, 20_000
	// judges is how many expectations are judged at a time.
	judges = 16
	// failedAgain is the pause before an expectation is judged again that could not be.
	failedAgain = 5 * time.Second
	// Above so many open expectations the gauges are set every so often only. Guesses.
	manyOpen, measureEvery = 10_000, 10 * time.Second
)

// Walk remembers when to judge each open expectation. It reads each message of EXPECTATIONS
// once, and again when it is due. An expectation takes about 200 bytes of memory (estimated).
type Walk struct {
	worker  *Worker
	created time.Time // Creation time of EXPECTATIONS when it was read.
	above   uint64    // The last sequence that was read.
	queue   duequeue.Queue
	open    map[uint64]pending // By sequence.
	known   []string           // The providers with metrics.

	measured time.Time // By the machine's clock.
}

// pending is an open expectation.
type pending struct {
	unit     subject.Unit
	deadline time.Time
}

// NewWalk returns a Walk that has read nothing. providers are those with metrics.
func NewWalk(w *Worker, providers ...string) *Walk {
	return &Walk{worker: w, open: map[uint64]pending{}, known: providers}
}

// Run runs a round every half second until ctx ends. A failed round is logged and repeated.
func (k *Walk) Run(ctx context.Context) error {
	return k.RunWithin(ctx, func(ctx context.Context, round func(context.Context) error) error { return round(ctx) })
}

// RunWithin is Run with each round called by within, which may leave it out.
func (k *Walk) RunWithin(ctx context.Context, within func(context.Context, func(context.Context) error) error) error {
	for {
		err := panics.Try(func() error { return within(ctx, k.Round) })
		if ctx.Err() != nil {
			return nil //nolint:nilerr // A round that was stopped has not failed.
		}
		if err != nil {
			k.worker.Metrics.failed.Inc()
			k.worker.Log.Error("expectations.failed", zap.Error(err))
		}
		if !wait.For(ctx, roundEvery) {
			return nil
		}
	}
}

// Round reads what is new and judges what is due. It must not run concurrently with itself.
func (k *Walk) Round(ctx context.Context) error {
	expected := k.worker.Expectations.Expected()
	info, err := expected.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Expectations, err)
	}
	if info.State.LastSeq < k.above || !info.Created.Equal(k.created) {
		*k = Walk{worker: k.worker, created: info.Created, open: map[uint64]pending{}, known: k.known}
	}
	now, left := k.worker.Now(), roundRead
	if info.State.LastSeq > k.above && info.State.Msgs > 0 {
		k.above, err = stream.Each(ctx, expected, stream.All, max(k.above, info.State.FirstSeq-1), func(raw *jetstream.RawStreamMsg) (bool, error) {
			if left--; left < 0 {
				return false, nil
			}
			k.queue.Add(raw.Sequence, now)
			k.open[raw.Sequence] = pending{}
			return true, nil
		})
	}
	err = errors.Join(err, k.judgeDue(ctx))
	k.measure()
	return err
}

// judgeDue judges the due expectations, each once.
func (k *Walk) judgeDue(ctx context.Context) error {
	now := k.worker.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(judges)
	var mu sync.Mutex
	var failed error
	var again []func()
	for range roundJudged {
		sequence, at, ok := k.queue.First()
		if !ok || at.After(now) {
			break
		}
		k.queue.Drop()
		group.Go(func() error {
			next, one, err := k.judgeOne(ctx, sequence, k.open[sequence])
			mu.Lock()
			defer mu.Unlock()
			if err != nil && failed == nil {
				failed = err
			}
			again = append(again, func() {
				if next.IsZero() {
					delete(k.open, sequence)
					return
				}
				k.open[sequence] = one
				k.queue.Add(sequence, next)
			})
			return nil
		})
	}
	_ = group.Wait() // No judgement returns an error to it.
	for _, add := range again {
		add()
	}
	return failed
}

// judgeOne judges the expectation of a sequence. The zero time means that there is no more
// to judge.
func (k *Walk) judgeOne(ctx context.Context, sequence uint64, one pending) (next time.Time, _ pending, err error) {
	soon := k.worker.Now().Add(failedAgain)
	raw, err := k.worker.Expectations.Expected().GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		err = k.worker.gone(ctx, one.unit)
	}
	switch {
	case err != nil:
		return soon, one, fmt.Errorf("read expectation %d: %w", sequence, err)
	case raw == nil: // It was settled or replaced.
		return time.Time{}, one, nil
	}
	if u, err := subject.ParseUnit(raw.Subject); err == nil {
		one.unit = u
	}
	err = panics.Try(func() (err error) {
		next, one.deadline, err = k.worker.Message(ctx, raw)
		return err
	})
	if err != nil {
		return soon, one, err
	}
	return next, one, nil
}

// measure sets the gauges of open expectations.
func (k *Walk) measure() {
	if len(k.open) > manyOpen && time.Since(k.measured) < measureEvery {
		return
	}
	k.measured = time.Now()
	now := k.worker.Now()
	open, overdue := map[string]int{}, map[string]time.Duration{}
	for _, one := range k.open {
		open[one.unit.Provider]++
		if !one.deadline.IsZero() {
			overdue[one.unit.Provider] = max(overdue[one.unit.Provider], now.Sub(one.deadline))
		}
	}
	for _, provider := range k.known {
		k.worker.Metrics.open.WithLabelValues(provider).Set(float64(open[provider]))
		k.worker.Metrics.overdue.WithLabelValues(provider).Set(overdue[provider].Seconds())
	}
}
