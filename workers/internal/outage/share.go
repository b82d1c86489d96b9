package outage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// lookEvery is how often a worker that has paused the others asks the broker
// whether somebody was answered: what was in flight when the pause began. It bounds
// what one sick worker costs the others.
const lookEvery = 500 * time.Millisecond

// begun reads what the provider answered last when a row of failures begins.
// Answers that are later than that are somebody else's.
func (b *Breaker) begun(ctx context.Context) {
	last, err := b.last(ctx)
	if err != nil {
		return // Then the pause itself finds it out.
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.row > 0 && !b.marked {
		b.mark, b.marked = last, true
	}
}

// share pauses the consumers for every worker, unless somebody was answered since
// the failures or the last pause began. The end of the pause is counted from the
// broker's time, because this worker's clock may be wrong.
func (b *Breaker) share(ctx context.Context, pause time.Duration) {
	last, err := b.last(ctx)
	b.mu.Lock()
	others := err == nil && b.marked && last > b.mark
	b.mark, b.marked, b.shared = last, err == nil, !others
	b.mu.Unlock()
	if others {
		b.log.Warn("provider answers others, they go on", zap.String("provider", b.provider))
		return
	}
	if err := b.each(func(stream, consumer string) error {
		c, err := b.js.Consumer(ctx, stream, consumer)
		if err != nil {
			return err
		}
		_, err = b.js.PauseConsumer(ctx, stream, consumer, c.CachedInfo().TimeStamp.Add(pause))
		return err
	}); err != nil {
		b.log.Warn("consumers not paused, this process alone waits", zap.String("provider", b.provider), zap.Error(err))
	}
	if err == nil {
		go b.watch(ctx, last, pause)
	}
}

// watch resumes the consumers, and not yet this worker, once somebody was answered
// after an answer of that sequence. It ends with the pause.
func (b *Breaker) watch(ctx context.Context, mark uint64, pause time.Duration) {
	ctx, end := context.WithTimeout(ctx, pause)
	defer end()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for b.sharing(mark) {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if last, err := b.last(ctx); err != nil || last <= mark || !b.unshare(mark) {
			continue
		}
		b.log.Warn("provider answers others, they go on", zap.String("provider", b.provider))
		b.resume(ctx)
	}
}

// sharing reports whether the pause that began at an answer of that sequence still
// holds everybody.
func (b *Breaker) sharing(mark uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shared && b.mark == mark
}

// unshare makes a pause this worker's own, and lets it probe at once: the provider
// may be back for it too. It reports whether the pause was everybody's.
func (b *Breaker) unshare(mark uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.shared || b.mark != mark {
		return false
	}
	b.shared, b.until = false, b.now()
	return true
}

// last reads the STATUSES sequence of the last answer that the provider gave to
// anybody, 0 for none.
func (b *Breaker) last(ctx context.Context) (uint64, error) {
	stream, err := b.js.Stream(ctx, subject.Statuses)
	if err != nil {
		return 0, fmt.Errorf("open stream %s: %w", subject.Statuses, err)
	}
	latest := uint64(0)
	for _, account := range b.Accounts {
		raw, err := stream.GetLastMsgForSubject(ctx, subject.Unit{Provider: b.provider, Account: account, Payment: subject.Any}.Status())
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("read last observation: %w", err)
		}
		var seen order.Observation
		if err := json.Unmarshal(raw.Data, &seen); err != nil {
			return 0, fmt.Errorf("read last observation: %w", err)
		}
		if seen.Confirmed { // A webhook that is believed is no answer.
			latest = max(latest, raw.Sequence)
		}
	}
	return latest, nil
}

// resume ends the pause of both consumers.
func (b *Breaker) resume(ctx context.Context) {
	if err := b.each(func(stream, consumer string) error {
		_, err := b.js.ResumeConsumer(ctx, stream, consumer)
		return err
	}); err != nil {
		b.log.Warn("consumers not resumed, their pause ends by itself", zap.String("provider", b.provider), zap.Error(err))
	}
}
