package ratelimit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/subject"
)

// renewEvery is how often a worker renews its lease. A guess: one write a second.
const renewEvery = time.Second

// Fleet divides the limits of all accounts among the workers that hold a lease. It adds no
// request to a look-up. It is safe for concurrent use.
type Fleet struct {
	nc        *nats.Conn
	leases    leases
	providers []string
	now       func() time.Time
	log       *zap.Logger

	mu       sync.Mutex
	members  members
	full     bool                // This worker may begin with full buckets.
	limiters map[*Limiter]string // The provider of each.
}

// leases is the stream LEASES.
type leases interface {
	// store appends a lease under a name.
	store(ctx context.Context, name string, l lease) error
	// read returns the last lease under every name, from the stream's leader.
	read(ctx context.Context) ([]storedLease, error)
}

// OpenFleet binds to LEASES, for a worker that looks up the payments of the providers.
func OpenFleet(ctx context.Context, js jetstream.JetStream, providers []string, log *zap.Logger) (*Fleet, error) {
	s, err := js.Stream(ctx, subject.Leases)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Leases, err)
	}
	f := newFleet(brokerLeases{js, s}, providers, log, time.Now)
	f.nc = js.Conn()
	return f, nil
}

func newFleet(l leases, providers []string, log *zap.Logger, now func() time.Time) *Fleet {
	return &Fleet{
		leases: l, providers: providers, log: log, now: now,
		members: members{others: map[string]member{}}, limiters: map[*Limiter]string{},
	}
}

// Limiter returns the limiter of one account, which has no share until Run has joined.
func (f *Fleet) Limiter(provider string, l Limit) *Limiter {
	limiter := New(l, f.now)
	limiter.divide(0, time.Time{}, false)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limiters[limiter] = provider
	limiter.divide(f.members.share(provider), f.members.until, f.full)
	return limiter
}

// Forget ends the limiter of an account that is no longer looked up: its share ends with the
// lease, and is not renewed.
func (f *Fleet) Forget(l *Limiter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.limiters, l)
}

// Size is how many workers are counted, this one included.
func (f *Fleet) Size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return 1 + len(f.members.counts())
}

// Run holds a lease until ctx ends. It fails only if it cannot subscribe.
func (f *Fleet) Run(ctx context.Context) error {
	changes := make(chan *nats.Msg, 256)
	subscription, err := f.nc.ChanSubscribe(subject.LeaseChanged(subject.Any), changes)
	if err != nil {
		return fmt.Errorf("listen to leases: %w", err)
	}
	defer func() {
		if err := subscription.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			f.log.Warn("lease.unsubscribe_failed", zap.Error(err))
		}
	}()
	defer f.end(context.WithoutCancel(ctx))
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for renew := true; ; {
		if renew {
			if err := f.renew(ctx); err != nil && ctx.Err() == nil {
				f.log.Warn("lease.renew_failed", zap.Error(err))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			renew = true
		case m := <-changes:
			sequence, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
			renew = err == nil && f.take(decoded(m.Subject, m.Data, sequence, time.Time{}))
		}
	}
}

// take takes a lease in. It reports whether this worker must say at once that it counts
// another.
func (f *Fleet) take(l storedLease) (fresh bool) {
	f.change(func(m *members) { fresh = m.take(l, f.now()) })
	return fresh
}

// change changes what is known of the workers, and gives every limiter its share.
func (f *Fleet) change(what func(*members)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what(&f.members)
	for limiter, provider := range f.limiters {
		limiter.divide(f.members.share(provider), f.members.until, f.full)
	}
}

// renew stores this worker's lease, or joins again if the last one has ended. It reads the
// others' first if one of them is overdue.
func (f *Fleet) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTerm/2)
	defer cancel()
	var join, overdue bool
	f.change(func(m *members) {
		now := f.now()
		m.forget(now)
		if join, overdue = !m.holds(now), m.overdue(now); join {
			f.full = m.name == ""
			m.join(uuid.NewString())
		}
	})
	sent := f.now()
	if err := f.store(ctx); err != nil {
		return err
	}
	if join || overdue {
		began := f.now()
		all, err := f.leases.read(ctx)
		if err != nil {
			return fmt.Errorf("read leases: %w", err)
		}
		f.change(func(m *members) { f.full = m.takeAll(all, began, f.now()) && f.full })
	}
	f.change(func(m *members) { m.confirmed(sent, f.now()) })
	if join {
		return f.store(ctx) // It says which others are counted.
	}
	return nil
}

// store stores this worker's lease.
func (f *Fleet) store(ctx context.Context) error {
	f.mu.Lock()
	name, l := f.members.name, lease{Providers: f.providers, Counts: f.members.counts(), Replaces: f.members.before}
	f.mu.Unlock()
	if err := f.leases.store(ctx, name, l); err != nil {
		return fmt.Errorf("store lease: %w", err)
	}
	return nil
}

// end ends this worker's lease, so that the others need not wait for its end.
func (f *Fleet) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaseTerm/2)
	defer cancel()
	var name string
	f.change(func(m *members) { name = m.name; m.join("") })
	if err := f.leases.store(ctx, name, lease{Ended: true}); err != nil {
		f.log.Warn("lease.end_failed", zap.Error(err))
	}
}

// brokerLeases is the broker's stream.
type brokerLeases struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

func (b brokerLeases) store(ctx context.Context, name string, l lease) error {
	body, err := json.Marshal(l)
	if err == nil {
		_, err = b.js.Publish(ctx, subject.Lease(name), body)
	}
	return err
}

func (b brokerLeases) read(ctx context.Context) (all []storedLease, err error) {
	err = stream.EachOrFail(ctx, b.stream, subject.Lease(subject.Any), func(raw *jetstream.RawStreamMsg) error {
		all = append(all, decoded(raw.Subject, raw.Data, raw.Sequence, raw.Time))
		return nil
	})
	return all, err
}

// decoded returns a lease as it is stored. What does not decode counts no one, so that it
// only keeps workers from joining until it is overdue.
func decoded(on string, body []byte, sequence uint64, at time.Time) storedLease {
	l := storedLease{name: subject.ParseLease(on), sequence: sequence, at: at}
	if json.Unmarshal(body, &l.lease) != nil {
		l.lease = lease{}
	}
	return l
}
