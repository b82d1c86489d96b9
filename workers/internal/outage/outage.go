// Package outage stops the look-ups of a provider while they get no answer at
// all, and ends by itself: a pause is short, and the first look-ups after it probe
// whether the provider is back. The worker that gets no answer stops first. It
// pauses the provider's consumers, for every worker at once, only while the broker
// knows of nobody who is answered: else what is sick is this worker.
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
	Failures int           // In a row.
	Window   time.Duration // In which they must begin and end.
	First    time.Duration // The first pause; each failing probe doubles it.
	Longest  time.Duration
	Accounts []string // Those that have a look-up. Each may probe once before a pause grows.
}

// Defaults are the options of production for a provider with those accounts.
func Defaults(accounts []string) Options {
	return Options{Failures: 20, Window: 30 * time.Second, First: 2 * time.Second, Longest: time.Minute, Accounts: accounts}
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
	probes  int  // Begun since the last answer.
	shared  bool // The consumers are paused by this process.

	mark   uint64 // STATUSES sequence of the provider's last answer to anybody when the row or the last pause began.
	marked bool   // It has been read.

	counted map[string]bool // The payments whose failures are in the row.

	failing map[string]time.Time // The accounts whose probe has failed since the pause, and when each may probe again.

	answered map[string]time.Time // When an account got an answer that no failure has followed.
}

// New returns the breaker of one provider.
func New(js jetstream.JetStream, provider string, o Options, m *Metrics, log *zap.Logger, now func() time.Time) *Breaker {
	m.paused.WithLabelValues(provider).Set(0)
	m.pauses.WithLabelValues(provider)
	return &Breaker{
		Options: o, js: js, provider: provider, metrics: m, log: log, now: now,
		counted: map[string]bool{}, failing: map[string]time.Time{}, answered: map[string]time.Time{},
	}
}

// Permit is permission for one look-up.
type Permit struct {
	account string
	payment string // "" where that is not known.
	probe   bool
	control bool
	asked   time.Time
}

// About is l for a look-up of a payment.
func (l Permit) About(payment string) Permit {
	l.payment = payment
	return l
}

// Control reports whether l is that of a probe which should ask about a payment
// that the provider has answered before. Every other probe asks about the payment
// in hand.
func (l Permit) Control() bool { return l.control }

// Room is how many of want messages may be pulled now. A worker that pauses takes
// none from the others, and one that probes takes one.
func (b *Breaker) Room(want int) int {
	if b == nil {
		return want
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pause == 0:
		return want
	case b.probing || b.now().Before(b.until):
		return 0
	}
	return min(want, 1)
}

// Acquire gives leave to ask about a payment of the account. Without it the
// message goes back to the broker, which holds it until the pause is over:
// asking would be in vain, and would spend what a payment has left. An account
// whose probe has failed leaves the next one to the others.
func (b *Breaker) Acquire(account string) (Permit, bool) {
	if b == nil {
		return Permit{}, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.pause == 0 {
		return Permit{account: account, asked: now}, true
	}
	if b.probing || now.Before(b.until) || now.Before(b.failing[account]) {
		return Permit{}, false
	}
	b.probing = true
	b.probes++
	return Permit{account: account, probe: true, control: b.probes%2 == 1, asked: now}, true
}

// Release gives a leave back that was not used to its end.
func (b *Breaker) Release(l Permit) {
	if b == nil || !l.probe {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}

// Answered takes note that the provider said something, whatever it was. It
// resumes the consumers if they were paused for good reason.
func (b *Breaker) Answered(ctx context.Context, l Permit) {
	if b == nil {
		return
	}
	b.mu.Lock()
	resume := b.pause > 0 && (l.probe || l.asked.After(b.until))
	if l.probe {
		b.probing = false
	}
	b.row, b.marked, b.probes = 0, false, 0
	b.answered[l.account] = b.now()
	clear(b.failing)
	if resume {
		b.pause, b.shared = 0, false
	}
	b.mu.Unlock()
	if !resume {
		return
	}
	b.metrics.paused.WithLabelValues(b.provider).Set(0)
	b.log.Info("provider answers again", zap.String("provider", b.provider))
	b.resume(ctx)
}

// Failed takes note that the provider gave no answer, or none of any use, and
// pauses this worker when it has done so too often, or to probes; see share for
// the others. It does not while another account is answered: each may have an
// address of its own, and the others must not wait for one that is wrong. What such
// an account asks is parked like any other failure.
func (b *Breaker) Failed(ctx context.Context, l Permit) {
	if b == nil {
		return
	}
	pause, first := b.failed(l)
	switch {
	case first:
		b.begun(ctx)
	case pause > 0:
		b.metrics.paused.WithLabelValues(b.provider).Set(1)
		b.metrics.pauses.WithLabelValues(b.provider).Inc()
		b.log.Warn("provider does not answer, this worker's look-ups pause", zap.String("provider", b.provider), zap.Duration("for", pause))
		b.share(ctx, pause)
	}
}

// failed counts a failure. It returns how long this worker pauses, if it does, and
// whether the failure is the first of a row.
func (b *Breaker) failed(l Permit) (pause time.Duration, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.pause > 0 {
		delete(b.answered, l.account)
		if l.probe && b.probeFailed(l, now) { // Another began before the pause, and says nothing new.
			return b.pause, false
		}
		return 0, false
	}
	if b.row == 0 || now.Sub(b.began) > b.Window {
		b.row, b.began, b.marked = 0, now, false
		clear(b.counted)
	}
	if about := l.account + "/" + l.payment; l.payment != "" {
		if b.counted[about] {
			return 0, false // One payment that is answered badly again and again says nothing of the provider.
		}
		b.counted[about] = true
	}
	delete(b.answered, l.account)
	if b.row++; b.row < b.Failures || b.contradicted(now) {
		return 0, b.row == 1
	}
	b.begin(now, b.First)
	return b.pause, false
}

// probeFailed reports whether a failing probe makes a longer pause; b.mu is
// held. If another account is answered, the pause is over: the messages of this
// one that bounce would fill the consumers, and be in the way of what the others
// ask next. An account's first failing probe leaves the next one to the others,
// so that what they have to ask may end the pause.
func (b *Breaker) probeFailed(l Permit, now time.Time) (longer bool) {
	b.probing = false
	_, again := b.failing[l.account]
	b.failing[l.account] = now.Add(b.pause)
	switch {
	case b.contradicted(now):
		b.row, b.pause, b.shared = 0, 0, false
		b.metrics.paused.WithLabelValues(b.provider).Set(0)
		b.log.Warn("one account gets no answer and another does, look-ups go on", zap.String("provider", b.provider), zap.String("account", l.account))
		return false
	case !again && len(b.failing) < len(b.Accounts):
		return false
	}
	b.begin(now, min(2*b.pause, b.Longest))
	return true
}

// contradicted reports whether an account has been answered within the window
// and has not failed since: then what fails is not the provider. One that has
// nothing to ask tells nothing. b.mu is held.
func (b *Breaker) contradicted(now time.Time) bool {
	for _, at := range b.answered {
		if now.Sub(at) <= b.Window {
			return true
		}
	}
	return false
}

// begin begins a pause; b.mu is held.
func (b *Breaker) begin(now time.Time, pause time.Duration) {
	b.row, b.pause, b.until = 0, pause, now.Add(pause)
	clear(b.failing)
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
