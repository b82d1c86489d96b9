// Package outage pauses a provider's consumers, for every worker at once,
// while its look-ups get no answer at all, and ends by itself: a pause is
// short, and the first look-ups after it probe whether the provider is back.
package outage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/schemas/subject"
)

// Options say when a provider counts as down, and for how long it is left
// alone.
type Options struct {
	Failures int           // In a row, of whatever accounts.
	Window   time.Duration // In which they must begin and end.
	First    time.Duration // The first pause; each failing probe doubles it.
	Longest  time.Duration
}

// Defaults are the options of production.
func Defaults() Options {
	return Options{Failures: 20, Window: 30 * time.Second, First: 2 * time.Second, Longest: time.Minute}
}

// Breaker watches the look-ups of one provider in this process. What it
// decides is done in the broker, so that other processes pause too. It is safe
// for concurrent use. A nil Breaker lets everything pass.
type Breaker struct {
	Options
	js       jetstream.JetStream
	provider string
	metrics  *Metrics
	log      *zap.Logger
	now      func() time.Time

	mu      sync.Mutex
	row     int       // Failures since the last answer.
	began   time.Time // When that row began.
	pause   time.Duration
	until   time.Time // Of the last pause; look-ups may probe after it.
	probing bool
}

// New returns the breaker of one provider.
func New(js jetstream.JetStream, provider string, o Options, m *Metrics, log *zap.Logger, now func() time.Time) *Breaker {
	m.paused.WithLabelValues(provider).Set(0)
	m.pauses.WithLabelValues(provider)
	return &Breaker{Options: o, js: js, provider: provider, metrics: m, log: log, now: now}
}

// Leave is permission for one look-up.
type Leave struct {
	probe bool
	asked time.Time
}

// Enter gives leave to ask. Without it the message goes back to the broker,
// which holds it until the pause is over: asking would be in vain, and would
// spend what a payment has left.
func (b *Breaker) Enter() (Leave, bool) {
	if b == nil {
		return Leave{}, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.pause == 0 {
		return Leave{asked: now}, true
	}
	if b.probing || now.Before(b.until) {
		return Leave{}, false
	}
	b.probing = true
	return Leave{probe: true, asked: now}, true
}

// Abandon gives a leave back that was not used to its end.
func (b *Breaker) Abandon(l Leave) {
	if b == nil || !l.probe {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}

// Answered takes note that the provider said something, whatever it was. It
// resumes the consumers if they were paused for good reason.
func (b *Breaker) Answered(ctx context.Context, l Leave) {
	if b == nil {
		return
	}
	b.mu.Lock()
	resume := b.pause > 0 && (l.probe || l.asked.After(b.until))
	if l.probe {
		b.probing = false
	}
	b.row = 0
	if resume {
		b.pause = 0
	}
	b.mu.Unlock()
	if !resume {
		return
	}
	b.metrics.paused.WithLabelValues(b.provider).Set(0)
	b.log.Info("provider answers again", zap.String("provider", b.provider))
	if err := b.each(func(stream, consumer string) error {
		_, err := b.js.ResumeConsumer(ctx, stream, consumer)
		return err
	}); err != nil {
		b.log.Warn("consumers not resumed, their pause ends by itself", zap.String("provider", b.provider), zap.Error(err))
	}
}

// Failed takes note that the provider gave no answer, and pauses its consumers
// when it has done so too often, or to a probe.
func (b *Breaker) Failed(ctx context.Context, l Leave) {
	if b == nil {
		return
	}
	until, trip := b.failed(l)
	if !trip {
		return
	}
	b.metrics.paused.WithLabelValues(b.provider).Set(1)
	b.metrics.pauses.WithLabelValues(b.provider).Inc()
	b.log.Warn("provider does not answer, its look-ups pause", zap.String("provider", b.provider), zap.Time("until", until))
	if err := b.each(func(stream, consumer string) error {
		_, err := b.js.PauseConsumer(ctx, stream, consumer, until)
		return err
	}); err != nil {
		b.log.Warn("consumers not paused, this process alone waits", zap.String("provider", b.provider), zap.Error(err))
	}
}

func (b *Breaker) failed(l Leave) (until time.Time, trip bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.pause > 0 {
		if !l.probe {
			return b.until, false // It began before the pause, and says nothing new.
		}
		b.probing = false
		b.pause = min(2*b.pause, b.Longest)
		b.until = now.Add(b.pause)
		return b.until, true
	}
	if b.row == 0 || now.Sub(b.began) > b.Window {
		b.row, b.began = 0, now
	}
	if b.row++; b.row < b.Failures {
		return time.Time{}, false
	}
	b.row, b.pause = 0, b.First
	b.until = now.Add(b.pause)
	return b.until, true
}

// each does something to both consumers of the provider.
func (b *Breaker) each(do func(stream, consumer string) error) error {
	var all []error
	for _, c := range []struct{ stream, consumer string }{
		{subject.Notifications, subject.LookupConsumer(b.provider)},
		{subject.LookupRetries, subject.LookupDueConsumer(b.provider)},
	} {
		if err := do(c.stream, c.consumer); err != nil {
			all = append(all, fmt.Errorf("consumer %s: %w", c.consumer, err))
		}
	}
	return errors.Join(all...)
}
