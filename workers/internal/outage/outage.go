// Package outage is the circuit breaker of a provider that gives no usable answer. It
// opens in the worker that meets the failures, and for all workers, by a pause of the
// provider's consumers, only if the broker shows no newer answer to any worker: else
// the fault is this worker's. A pause is short; the first look-ups after it are probes.
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

// Options say when a provider counts as down, and how long its look-ups pause.
type Options struct {
	Failures int           // Failures in a row that start a pause, each of another payment.
	Window   time.Duration // The time within which these failures must lie.
	First    time.Duration // The first pause; each failed probe doubles it.
	Longest  time.Duration // The longest pause.
	Accounts []string      // The accounts that have a look-up. Each may probe once before a pause grows.
}

// Defaults returns the options of production for a provider with those accounts. All
// are guesses: a restart at the provider costs few failures, and no pause is longer
// than a minute.
func Defaults(accounts []string) Options {
	return Options{Failures: 20, Window: 30 * time.Second, First: 2 * time.Second, Longest: time.Minute, Accounts: accounts}
}

// Breaker is the circuit breaker of one provider in this process. It is safe for
// concurrent use. A nil Breaker allows every look-up.
type Breaker struct {
	Options
	js       jetstream.JetStream
	provider string
	metrics  *Metrics
	log      *zap.Logger
	now      func() time.Time

	mu              sync.Mutex
	streak          int           // Failures since the last answer.
	streakBegan     time.Time     // When the first of these failures was.
	pause           time.Duration // Length of the current pause; 0 while the breaker is closed.
	pauseEnd        time.Time     // End of the current pause, from which look-ups may probe.
	probing         bool          // A probe is in flight.
	probes          int           // Probes since the last answer.
	consumersPaused bool          // The consumers are paused by this process.

	lastAnswer      uint64 // STATUSES sequence of the provider's last answer to any worker when the streak or the pause began.
	lastAnswerKnown bool   // Whether lastAnswer has been read.

	streakPayments map[string]bool // The payments whose failures are in the streak.

	failedProbes map[string]time.Time // The accounts whose probe has failed in this pause, and when each may probe again.

	answeredAt map[string]time.Time // When each account was last answered; a failure removes it.
}

// New returns the closed circuit breaker of one provider.
func New(js jetstream.JetStream, provider string, o Options, m *Metrics, log *zap.Logger, now func() time.Time) *Breaker {
	m.paused.WithLabelValues(provider).Set(0)
	m.pauses.WithLabelValues(provider)
	return &Breaker{
		Options: o, js: js, provider: provider, metrics: m, log: log, now: now,
		streakPayments: map[string]bool{}, failedProbes: map[string]time.Time{}, answeredAt: map[string]time.Time{},
	}
}

// Permit allows one look-up.
type Permit struct {
	account    string
	payment    string // "" if unknown.
	probe      bool
	control    bool
	acquiredAt time.Time // When it was acquired.
}

// About returns p for a look-up of that payment.
func (p Permit) About(payment string) Permit {
	p.payment = payment
	return p
}

// Control reports whether the look-up is a probe that should ask about a payment that
// the provider has answered before. Every second probe does not, because the provider
// may by now give no answer about that very payment.
func (p Permit) Control() bool { return p.control }

// Room returns how many of want messages to pull: none during a pause, and after it one
// at a time, the probe's.
func (b *Breaker) Room(want int) int {
	if b == nil {
		return want
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pause == 0:
		return want
	case b.probing || b.now().Before(b.pauseEnd):
		return 0
	}
	return min(want, 1)
}

// Acquire allows a look-up of an account's payment, unless there is a pause or a probe
// in flight. With ok, one of Release, Answered and Failed must follow.
func (b *Breaker) Acquire(account string) (Permit, bool) {
	if b == nil {
		return Permit{}, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.pause == 0 {
		return Permit{account: account, acquiredAt: now}, true
	}
	if b.probing || now.Before(b.pauseEnd) || now.Before(b.failedProbes[account]) {
		return Permit{}, false
	}
	b.probing = true
	b.probes++
	return Permit{account: account, probe: true, control: b.probes%2 == 1, acquiredAt: now}, true
}

// Release ends a look-up that says nothing of the provider.
func (b *Breaker) Release(l Permit) {
	if b == nil || !l.probe {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}

// Answered records that the provider answered a look-up, whatever the answer. A probe's
// answer, or any that was asked for after the pause, closes the breaker and resumes the
// consumers.
func (b *Breaker) Answered(ctx context.Context, l Permit) {
	if b == nil {
		return
	}
	b.mu.Lock()
	resume := b.pause > 0 && (l.probe || l.acquiredAt.After(b.pauseEnd))
	if l.probe {
		b.probing = false
	}
	b.streak, b.lastAnswerKnown, b.probes = 0, false, 0
	b.answeredAt[l.account] = b.now()
	clear(b.failedProbes)
	if resume {
		b.pause, b.consumersPaused = 0, false
	}
	b.mu.Unlock()
	if !resume {
		return
	}
	b.metrics.paused.WithLabelValues(b.provider).Set(0)
	b.log.Info("outage.ended", zap.String("provider", b.provider), zap.String("reason", "answered"))
	b.resumeConsumers(ctx)
}

// Failed records that the provider gave no usable answer. Enough failures in a row, or
// a failed probe, start a pause, but none while another account is answered: that
// account may have another base URL, and need not wait.
func (b *Breaker) Failed(ctx context.Context, l Permit) {
	if b == nil {
		return
	}
	pause, first := b.countFailure(l)
	switch {
	case first:
		b.markLastAnswer(ctx)
	case pause > 0:
		b.metrics.paused.WithLabelValues(b.provider).Set(1)
		b.metrics.pauses.WithLabelValues(b.provider).Inc()
		b.log.Warn("outage.began", zap.String("provider", b.provider), zap.Duration("pause", pause))
		b.pauseConsumers(ctx, pause)
	}
}

// countFailure returns how long this worker is to pause, 0 for not at all, and whether
// the failure is the first of a streak.
func (b *Breaker) countFailure(l Permit) (pause time.Duration, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.pause > 0 {
		delete(b.answeredAt, l.account)
		if l.probe && b.probeFailed(l, now) { // A look-up from before the pause says nothing new.
			return b.pause, false
		}
		return 0, false
	}
	if b.streak == 0 || now.Sub(b.streakBegan) > b.Window {
		b.streak, b.streakBegan, b.lastAnswerKnown = 0, now, false
		clear(b.streakPayments)
	}
	if about := l.account + "/" + l.payment; l.payment != "" {
		if b.streakPayments[about] {
			return 0, false // A payment counts once: its own bad answers say nothing of the provider.
		}
		b.streakPayments[about] = true
	}
	delete(b.answeredAt, l.account)
	if b.streak++; b.streak < b.Failures || b.otherAccountAnswered(now) {
		return 0, b.streak == 1
	}
	b.startPause(now, b.First)
	return b.pause, false
}

// probeFailed reports whether a failed probe starts a longer pause. It does not if another
// account is answered, which ends the pause, nor after an account's first failed probe
// while other accounts have not probed yet. b.mu is held.
func (b *Breaker) probeFailed(l Permit, now time.Time) (longer bool) {
	b.probing = false
	_, again := b.failedProbes[l.account]
	b.failedProbes[l.account] = now.Add(b.pause)
	switch {
	case b.otherAccountAnswered(now):
		b.streak, b.pause, b.consumersPaused = 0, 0, false
		b.metrics.paused.WithLabelValues(b.provider).Set(0)
		b.log.Warn("outage.ended", zap.String("provider", b.provider), zap.String("reason", "another_account_answered"), zap.String("account", l.account))
		return false
	case !again && len(b.failedProbes) < len(b.Accounts):
		return false
	}
	b.startPause(now, min(2*b.pause, b.Longest))
	return true
}

// otherAccountAnswered reports whether an account was answered within the window and
// has not failed since. Then the provider is not down. b.mu is held.
func (b *Breaker) otherAccountAnswered(now time.Time) bool {
	for _, at := range b.answeredAt {
		if now.Sub(at) <= b.Window {
			return true
		}
	}
	return false
}

// startPause starts a pause. b.mu is held.
func (b *Breaker) startPause(now time.Time, pause time.Duration) {
	b.streak, b.pause, b.pauseEnd = 0, pause, now.Add(pause)
	clear(b.failedProbes)
}

// eachConsumer calls do for both consumers of the provider and joins the errors.
func (b *Breaker) eachConsumer(do func(stream, consumer string) error) error {
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
