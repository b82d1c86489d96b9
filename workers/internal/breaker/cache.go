package breaker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// Options are what a worker knows of itself.
type Options struct {
	Waits
	Name    string           // The name of this worker in records.
	Now     func() time.Time // The broker's time.
	Workers func() int       // How many workers the fleet has; nil: one.
}

// Defaults returns the options of production for a worker of that name. timeout is how
// long one look-up may take. All are guesses: a credential is mended within minutes at
// the soonest.
func Defaults(name string, timeout time.Duration) Options {
	return Options{Waits: Waits{First: 5 * time.Second, Longest: time.Minute, Expiry: timeout + 10*time.Second}, Name: name, Now: time.Now}
}

// Cache is what one worker knows of the circuit breakers, kept up to date by Run. It is
// safe for concurrent use. In a nil Cache every circuit is closed.
type Cache struct {
	Options
	store     *Store
	metrics   *Metrics
	log       *zap.Logger
	deferrals deferrals

	mu      sync.Mutex
	records map[key]entry // The latest record of each scope.
	opening map[key]bool  // This worker has met a failure and is writing the record.
}

// key names a scope. account may be that of a host: record.HostScope.
type key struct{ provider, account string }

// NewCache reads all records of s and returns the cache.
func NewCache(ctx context.Context, s *Store, o Options, m *Metrics, log *zap.Logger) (*Cache, error) {
	v := &Cache{Options: o, store: s, metrics: m, log: log, records: map[key]entry{}, opening: map[key]bool{}}
	return v, v.refresh(ctx)
}

// checkEvery is how often the last record is read: a change that was republished while
// this process was disconnected is known within it.
const checkEvery = 500 * time.Millisecond

// Run keeps the cache up to date until ctx ends. It fails only if it cannot subscribe.
func (v *Cache) Run(ctx context.Context) error {
	changes := make(chan *nats.Msg, 256)
	subscription, err := v.store.js.Conn().ChanSubscribe(subject.CircuitChanged(subject.Any, subject.Any), changes)
	if err != nil {
		return fmt.Errorf("listen to circuits: %w", err)
	}
	defer func() {
		if err := subscription.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			v.log.Warn("circuit.unsubscribe_failed", zap.Error(err))
		}
	}()
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	check := v.refresh
	for {
		if err := check(ctx); err != nil && ctx.Err() == nil {
			v.log.Warn("circuit.read_failed", zap.Error(err))
		}
		if !v.listen(ctx, changes, ticker.C) {
			return nil
		}
		check = v.catchUp
	}
}

// listen takes republished records in until the last one is to be read. more is false
// once ctx has ended.
func (v *Cache) listen(ctx context.Context, changes <-chan *nats.Msg, tick <-chan time.Time) (more bool) {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case m := <-changes:
			e, err := republished(m)
			if err != nil {
				v.log.Error("circuit.decode_failed", zap.String("subject", m.Subject), zap.Error(err))
				continue
			}
			v.update(e)
		}
	}
}

// republished decodes a record as the broker republishes it.
func republished(m *nats.Msg) (entry, error) {
	sequence, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return entry{}, fmt.Errorf("read sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return entry{}, fmt.Errorf("read time: %w", err)
	}
	provider, account, err := subject.ParseCircuit(m.Subject)
	if err != nil {
		return entry{}, fmt.Errorf("read scope: %w", err)
	}
	return decoded(&jetstream.RawStreamMsg{Sequence: sequence, Time: at, Data: m.Data}, provider, account), nil
}

// catchUp reads the last record, and all of them if it is not known as it is stored.
func (v *Cache) catchUp(ctx context.Context) error {
	raw, err := stream.Last(ctx, v.store.stream, subject.AllCircuits)
	if err != nil {
		return fmt.Errorf("read circuits: %w", err)
	}
	var newest entry
	v.mu.Lock()
	for _, e := range v.records {
		if e.sequence >= newest.sequence {
			newest = e
		}
	}
	v.mu.Unlock()
	if raw == nil && newest.sequence == 0 || raw != nil && newest.sequence == raw.Sequence && newest.at.Equal(raw.Time) {
		return nil
	}
	return v.refresh(ctx)
}

// refresh reads every record. If a known record is missing, or has a lower sequence
// now, and no newer record arrived during the read, then CIRCUITS was recreated, and
// the record that was read counts.
func (v *Cache) refresh(ctx context.Context) error {
	v.mu.Lock()
	before := maps.Clone(v.records)
	v.mu.Unlock()
	entries, err := v.store.entries(ctx)
	if err != nil {
		return err
	}
	read := map[key]entry{}
	for _, e := range entries {
		v.update(e)
		read[key{e.Provider, e.Account}] = e
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for k, was := range before {
		now := read[k]
		if now.sequence >= was.sequence || v.records[k].sequence != was.sequence {
			continue
		}
		if now.sequence == 0 {
			now.Circuit = record.Circuit{Provider: k.provider, Account: k.account, State: record.CircuitClosed}
		}
		v.set(now)
	}
	return nil
}

// update takes a record in unless a later one is known. A record that this worker wrote is
// taken in again, because only the broker's copy says when it was stored.
func (v *Cache) update(e entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.sequence >= v.records[key{e.Provider, e.Account}].sequence {
		v.set(e)
	}
}

// set makes a record the known one. v.mu is held.
func (v *Cache) set(e entry) {
	k := key{e.Provider, e.Account}
	if was := v.records[k].State; was != e.State {
		v.log.Info("circuit.changed", zap.String("provider", e.Provider), zap.String("account", e.Account),
			zap.String("state", string(e.State)), zap.String("cause", e.Cause), zap.String("by", e.By))
	}
	v.records[k] = e
	if !e.OfHost() {
		v.metrics.open.WithLabelValues(e.Provider, e.Account).Set(gauge[e.open()])
	}
}

// known returns the latest record of a scope, and whether this worker is opening its
// circuit breaker.
func (v *Cache) known(k key) (e entry, opening bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e = v.records[k]
	e.Provider, e.Account = k.provider, k.account
	return e, v.opening[k]
}

// readAgain takes in the record from the stream's leader, even if its sequence is lower
// than the known one: CIRCUITS may have been recreated.
func (v *Cache) readAgain(ctx context.Context, k key) error {
	e, err := v.store.read(ctx, k.provider, k.account)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.set(e)
	return nil
}
