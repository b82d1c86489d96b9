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

// answerCheckInterval is how often a worker that has paused the consumers reads whether
// another worker was answered since. It bounds what one faulty worker costs the others.
// A guess.
const answerCheckInterval = 500 * time.Millisecond

// markLastAnswer reads the provider's last answer when a streak of failures begins.
// Later answers were given to other workers.
func (b *Breaker) markLastAnswer(ctx context.Context) {
	last, err := b.readLastAnswer(ctx)
	if err != nil {
		return // pauseConsumers reads the last answer again.
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.streak > 0 && !b.lastAnswerKnown {
		b.lastAnswer, b.lastAnswerKnown = last, true
	}
}

// pauseConsumers pauses the consumers for every worker, unless another worker was answered
// since the streak or the last pause began. The pause ends by the broker's clock, because
// the clock of this worker may be wrong.
func (b *Breaker) pauseConsumers(ctx context.Context, pause time.Duration) {
	last, err := b.readLastAnswer(ctx)
	b.mu.Lock()
	others := err == nil && b.lastAnswerKnown && last > b.lastAnswer
	b.lastAnswer, b.lastAnswerKnown, b.consumersPaused = last, err == nil, !others
	b.mu.Unlock()
	if others {
		b.log.Warn("outage.limited_to_worker", zap.String("provider", b.provider))
		return
	}
	if err := b.eachConsumer(func(stream, consumer string) error {
		c, err := b.js.Consumer(ctx, stream, consumer)
		if err != nil {
			return err
		}
		_, err = b.js.PauseConsumer(ctx, stream, consumer, c.CachedInfo().TimeStamp.Add(pause))
		return err
	}); err != nil {
		b.log.Warn("consumer.pause_failed", zap.String("provider", b.provider), zap.Error(err))
	}
	if err == nil {
		go b.watchAnswers(ctx, last, pause)
	}
}

// watchAnswers resumes the consumers once another worker was answered after mark; this
// worker may then probe. It ends with the pause.
func (b *Breaker) watchAnswers(ctx context.Context, mark uint64, pause time.Duration) {
	ctx, end := context.WithTimeout(ctx, pause)
	defer end()
	ticker := time.NewTicker(answerCheckInterval)
	defer ticker.Stop()
	for b.pausing(mark) {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if last, err := b.readLastAnswer(ctx); err != nil || last <= mark || !b.limitToWorker(mark) {
			continue
		}
		b.log.Warn("outage.limited_to_worker", zap.String("provider", b.provider))
		b.resumeConsumers(ctx)
	}
}

// pausing reports whether the pause that began at answer mark still holds the
// consumers.
func (b *Breaker) pausing(mark uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.consumersPaused && b.lastAnswer == mark
}

// limitToWorker ends the consumers' pause that began at answer mark and lets this
// worker probe at once. It reports whether that pause was still current.
func (b *Breaker) limitToWorker(mark uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.consumersPaused || b.lastAnswer != mark {
		return false
	}
	b.consumersPaused, b.pauseEnd = false, b.now()
	return true
}

// readLastAnswer returns the STATUSES sequence of the provider's last answer to any
// worker, 0 for none.
func (b *Breaker) readLastAnswer(ctx context.Context) (uint64, error) {
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
		if seen.Confirmed { // A trusted payload is no answer.
			latest = max(latest, raw.Sequence)
		}
	}
	return latest, nil
}

// resumeConsumers ends the pause of both consumers. If it fails, the pause ends by
// itself.
func (b *Breaker) resumeConsumers(ctx context.Context) {
	if err := b.eachConsumer(func(stream, consumer string) error {
		_, err := b.js.ResumeConsumer(ctx, stream, consumer)
		return err
	}); err != nil {
		b.log.Warn("consumer.resume_failed", zap.String("provider", b.provider), zap.Error(err))
	}
}
