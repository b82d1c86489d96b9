package breaker

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"arauto/schemas/record"
)

// OutageOptions say when a host counts as down, and how long its circuit stays open.
type OutageOptions struct {
	Waits
	Failures int           // Failures in a row that open the circuit, each of another payment.
	Window   time.Duration // The time within which these failures must lie.
}

// OutageDefaults returns the options of production; timeout is how long one look-up may
// take. All are guesses: a restart at the provider costs few failures, and no wait is
// longer than a minute.
func OutageDefaults(timeout time.Duration) OutageOptions {
	return OutageOptions{
		Waits:    Waits{First: 2 * time.Second, Longest: time.Minute, Expiry: timeout + 10*time.Second},
		Failures: 20, Window: 30 * time.Second,
	}
}

// Outage holds the circuit breakers of the hosts of one provider. Failures in a row in one
// worker open a host's circuit for all workers. A worker that is answered all the same
// closes it, and then the failing worker alone waits. It is safe for concurrent use. A nil
// Outage allows every look-up.
type Outage struct {
	OutageOptions
	cache    *Cache
	provider string
	hosts    atomic.Pointer[map[string]*host] // By account; an account without a look-up has none.
}

// host is what this worker knows of one host besides its record.
type host struct {
	key  key
	name string

	mu         sync.Mutex
	accounts   int                  // How many accounts have their look-ups there; 0 once none has.
	failures   int                  // Failures since the last answer.
	began      time.Time            // When the first of these failures was.
	payments   map[string]bool      // The payments of these failures.
	answeredAt map[string]time.Time // When each account was last answered; a failure removes it.
	mine       uint64               // The record by which this worker opened the circuit, until another worker finds the same.
	own        entry                // The circuit breaker of this worker alone.
}

// NewOutage returns the circuit breakers of the hosts of one provider. hosts has the host of
// every account that has a look-up.
func NewOutage(v *Cache, provider string, hosts map[string]string, o OutageOptions) *Outage {
	b := &Outage{OutageOptions: o, cache: v, provider: provider}
	b.SetHosts(hosts)
	return b
}

// SetHosts replaces the host of every account that has a look-up. What is known of a host
// that stays is kept. Look-ups under way end at the host at which they began. Call it from
// one goroutine at a time.
func (b *Outage) SetHosts(hosts map[string]string) {
	named, accounts, next := map[string]*host{}, map[string]int{}, map[string]*host{}
	for _, h := range b.byAccount() {
		named[h.name] = h
	}
	for account, name := range hosts {
		h := named[name]
		if h == nil {
			h = &host{key: key{b.provider, record.HostScope(name)}, name: name, payments: map[string]bool{}, answeredAt: map[string]time.Time{}}
			h.close()
			named[name] = h
			b.cache.metrics.paused.WithLabelValues(b.provider, name)
			b.cache.metrics.pauses.WithLabelValues(b.provider, name)
		}
		accounts[name]++
		next[account] = h
	}
	b.hosts.Store(&next)
	for name, h := range named {
		h.mu.Lock()
		h.accounts = accounts[name]
		maps.DeleteFunc(h.answeredAt, func(account string, _ time.Time) bool { return next[account] != h })
		if h.accounts == 0 {
			b.cache.metrics.paused.DeleteLabelValues(b.provider, name)
		}
		h.mu.Unlock()
	}
}

// byAccount is the host of every account that has a look-up.
func (b *Outage) byAccount() map[string]*host {
	if b == nil {
		return nil
	}
	if hosts := b.hosts.Load(); hosts != nil {
		return *hosts
	}
	return nil
}

// close closes the circuit breaker of this worker alone. h.mu is held.
func (h *host) close() {
	h.own = entry{Circuit: record.Circuit{Provider: h.key.provider, Account: h.key.account}}
}

// HostPermit is a Permit of a host. The zero HostPermit is that of an account without
// look-ups.
type HostPermit struct {
	Permit
	host    *host
	own     record.Circuit // The circuit breaker of this worker alone that the look-up probes; zero for none.
	payment string         // "" if unknown.
}

// About returns p for a look-up of that payment.
func (p HostPermit) About(payment string) HostPermit {
	p.payment = payment
	return p
}

// probesOwn reports whether the look-up probes the circuit breaker of this worker alone.
func (p HostPermit) probesOwn() bool { return p.own.State != "" }

// Control is Permit.Control.
func (p HostPermit) Control() bool { return p.Permit.Control() || p.own.Probes%2 == 1 }

// follow compares the host's record with what this worker has written, and returns it.
// h.mu is held.
//   - If another worker opened the circuit too, the host is down.
//   - If another worker was answered after this one had opened the circuit, the fault is
//     here, and this worker's look-ups alone stop.
func (b *Outage) follow(h *host) entry {
	e, _ := b.cache.known(h.key)
	if h.mine > 0 && e.sequence > h.mine && e.By != b.cache.Name {
		switch {
		case e.State == record.CircuitOpen:
			h.mine = 0
			h.close()
		case e.State == record.CircuitClosed && e.Cause == causeAnswered:
			h.mine = 0
			b.step(h, tripped, "")
			b.cache.log.Warn("outage.limited_to_worker", zap.String("provider", b.provider), zap.String("host", h.name))
		}
	}
	if h.accounts > 0 {
		b.cache.metrics.paused.WithLabelValues(b.provider, h.name).Set(gauge[e.open() || h.own.open()])
	}
	return e
}

// step changes the circuit breaker of this worker alone. h.mu is held.
func (b *Outage) step(h *host, e event, account string) {
	if c, ok := b.next(h.own.Circuit, e, account, h.accounts); ok {
		h.own = entry{at: b.cache.Now(), Circuit: c}
	}
}

// Room returns how many of want messages to pull: none while the circuit of every host is
// open, and one at a time while a probe is due. Where only some accounts may probe it returns
// want, because messages of the others may be in front of theirs; these are scheduled, see Defer.
func (b *Outage) Room(want int) int {
	hosts := b.byAccount()
	if len(hosts) == 0 {
		return want
	}
	some, all := false, true
	for account, h := range hosts {
		closed, due := b.state(h, account)
		if closed {
			return want
		}
		some, all = some || due, all && due
	}
	switch {
	case !some:
		return 0
	case all:
		return min(want, 1)
	}
	return want
}

// state reports whether a host's look-ups run, and whether one of the account may probe.
// While this worker writes that the circuit opens, neither holds, as in Acquire.
func (b *Outage) state(h *host, account string) (closed, due bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b.follow(h)
	e, opening := b.cache.known(h.key)
	now := b.cache.Now()
	closed, due = !opening, !opening
	for _, e := range []entry{e, h.own} {
		if e.open() {
			wait, ok := e.probeIn(now, account)
			closed, due = false, due && ok && wait == 0
		}
	}
	return closed, due
}

// Acquire allows a look-up of an account's payment, unless the circuit of its host is open
// and no probe is due. With ok, one of Release, Answered and Failed must follow.
func (b *Outage) Acquire(account string) (p HostPermit, ok bool) {
	h := b.byAccount()[account]
	if h == nil {
		return HostPermit{}, true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	b.follow(h)
	p = HostPermit{host: h, Permit: b.cache.acquire(scope{key: h.key, waits: b.Waits, accounts: h.accounts}, account)}
	if p.Denied || !h.own.open() {
		return p, !p.Denied
	}
	if wait, _ := h.own.probeIn(b.cache.Now(), account); wait > 0 {
		p.Denied = true
		return p, false
	}
	b.step(h, probed, account)
	p.own = h.own.Circuit
	return p, true
}

// AcquireProbe is Cache.AcquireProbe for a host. If ok is false the permit is released.
func (b *Outage) AcquireProbe(ctx context.Context, p HostPermit) (_ HostPermit, ok bool, err error) {
	if p.host == nil {
		return p, true, nil
	}
	asked := p.Permit
	if p.Permit, err = b.cache.AcquireProbe(ctx, asked); err == nil && !p.Denied {
		return p, true, nil
	}
	p.probe = false // No record says that this look-up probes.
	return p, false, errors.Join(err, b.Release(ctx, p))
}

// Defer returns how long a denied look-up waits. ok is false while the circuit of every
// host is open, and no account or every one may probe: then at most one message is pulled, and
// the look-up waits in its consumer at no cost.
func (b *Outage) Defer(p HostPermit, jitter float64) (wait time.Duration, ok bool) {
	if b.Room(2) < 2 {
		return 0, false
	}
	return b.cache.Defer(p.Permit, jitter), true
}

// Release ends a look-up that says nothing of the host.
func (b *Outage) Release(ctx context.Context, p HostPermit) error {
	if p.host == nil {
		return nil
	}
	if p.probesOwn() {
		p.host.mu.Lock()
		b.step(p.host, unproven, p.account)
		p.host.mu.Unlock()
	}
	return b.cache.Unproven(ctx, p.Permit)
}

// Answered records that the host answered a look-up, whatever the answer. It closes the
// circuit if the look-up is a probe, and also if another worker has opened it while this
// one is answered.
func (b *Outage) Answered(ctx context.Context, p HostPermit) error {
	h := p.host
	if h == nil {
		return nil
	}
	h.mu.Lock()
	e := b.follow(h)
	h.failures, h.answeredAt[p.account] = 0, b.cache.Now()
	if p.probe || p.probesOwn() {
		h.mine = 0
		h.close()
	}
	if !p.probe && e.open() && e.By != b.cache.Name && h.mine == 0 && !h.own.open() {
		p.probe, p.decidedBy = true, e
	}
	h.mu.Unlock()
	return b.finish(ctx, p)
}

// finish closes the circuit that p probes.
func (b *Outage) finish(ctx context.Context, p HostPermit) error {
	err := b.cache.Answered(ctx, p.Permit)
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	b.follow(p.host)
	return err
}

// Failed records that the host gave no usable answer. Enough failures in a row, or a failed
// probe, open the circuit, but not while another account is answered: then the fault is
// the account's, and the others need not wait.
func (b *Outage) Failed(ctx context.Context, p HostPermit) error {
	h := p.host
	if h == nil {
		return nil
	}
	open, answered := b.countFailure(p)
	switch {
	case answered:
		return b.finish(ctx, p)
	case !open:
		return nil
	}
	opened, err := b.cache.fail(ctx, p.Permit)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures = 0
	if opened {
		e, _ := b.cache.known(h.key)
		h.mine = e.sequence
		b.cache.metrics.pauses.WithLabelValues(b.provider, h.name).Inc()
	}
	if err != nil {
		b.step(h, tripped, p.account) // Without the broker this worker stops by itself.
	}
	b.follow(h)
	return err
}

// countFailure reports whether a failure opens the circuit, or ends a probe although it
// failed, because another account is answered.
func (b *Outage) countFailure(p HostPermit) (open, answered bool) {
	h := p.host
	h.mu.Lock()
	defer h.mu.Unlock()
	now := b.cache.Now()
	b.follow(h)
	delete(h.answeredAt, p.account)
	for _, at := range h.answeredAt {
		answered = answered || now.Sub(at) <= b.Window
	}
	switch {
	case p.probe || p.probesOwn():
		if answered && p.probesOwn() {
			h.close()
		} else if p.probesOwn() {
			b.step(h, failed, p.account)
		}
		return p.probe && !answered, p.probe && answered
	case h.own.open():
		return false, false // A look-up from before says nothing new.
	case h.failures == 0 || now.Sub(h.began) > b.Window:
		h.failures, h.began = 0, now
		clear(h.payments)
	}
	if about := p.account + "/" + p.payment; p.payment != "" {
		if h.payments[about] {
			return false, false // A payment counts once: its own bad answers say nothing of the host.
		}
		h.payments[about] = true
	}
	h.failures++
	return h.failures >= b.Failures && !answered, false
}
