package circuit

import (
	"context"
	"encoding/json"
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

// Options say how an open circuit behaves.
type Options struct {
	First   time.Duration // From opening to the first probe; each failing one doubles it.
	Longest time.Duration // Between two probes.
	Expiry  time.Duration // How long one probe may take before another may begin.
	Spread  time.Duration // Over which the waiting look-ups come back at least.
	Name    string        // Of this worker, in records.
	Now     func() time.Time
}

// Defaults are the options of production for a worker of that name. timeout
// is how long one look-up may take.
func Defaults(name string, timeout time.Duration) Options {
	return Options{
		First: 5 * time.Second, Longest: time.Minute, Expiry: timeout + 10*time.Second,
		Spread: 10 * time.Second, Name: name, Now: time.Now,
	}
}

// longestSpread bounds how long after the credential is mended the last
// look-up comes back.
const longestSpread = 5 * time.Minute

// Cache is what one worker knows of the circuits, kept up to date by Run. It
// is safe for concurrent use. A nil View has every circuit closed.
type Cache struct {
	Options
	board   *Store
	metrics *Metrics
	log     *zap.Logger

	mu      sync.Mutex
	known   map[key]entry
	tripped map[key]bool // Refused here; the record is being written.
}

type key struct{ provider, account string }

// NewCache reads all records and returns the view.
func NewCache(ctx context.Context, b *Store, o Options, m *Metrics, log *zap.Logger) (*Cache, error) {
	v := &Cache{Options: o, board: b, metrics: m, log: log, known: map[key]entry{}, tripped: map[key]bool{}}
	return v, v.refresh(ctx)
}

// refreshEvery is how often the view is read anew, for what was said while
// this process was not connected.
const refreshEvery = 2 * time.Second

// Run keeps the view up to date until ctx ends.
func (v *Cache) Run(ctx context.Context) error {
	changes := make(chan *nats.Msg, 256)
	heard, err := v.board.js.Conn().ChanSubscribe(subject.CircuitChanged(subject.Any, subject.Any), changes)
	if err != nil {
		return fmt.Errorf("listen to circuits: %w", err)
	}
	defer func() {
		if err := heard.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			v.log.Warn("still subscribed to circuits", zap.Error(err))
		}
	}()
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		if err := v.refresh(ctx); err != nil && ctx.Err() == nil {
			v.log.Warn("circuits not read, going on with what is known", zap.Error(err))
		}
		if !v.listen(ctx, changes, ticker.C) {
			return nil
		}
	}
}

// listen takes changes in until it is time to read everything anew.
func (v *Cache) listen(ctx context.Context, changes <-chan *nats.Msg, anew <-chan time.Time) (more bool) {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-anew:
			return true
		case m := <-changes:
			e, err := changed(m)
			if err != nil {
				v.log.Error("circuit does not decode", zap.String("subject", m.Subject), zap.Error(err))
				continue
			}
			v.learn(e)
		}
	}
}

// changed reads a record as the broker repeats it.
func changed(m *nats.Msg) (entry, error) {
	sequence, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return entry{}, fmt.Errorf("read sequence: %w", err)
	}
	e := entry{sequence: sequence}
	if err := json.Unmarshal(m.Data, &e.Circuit); err != nil {
		return entry{}, fmt.Errorf("decode circuit: %w", err)
	}
	if m.Subject != subject.CircuitChanged(e.Provider, e.Account) {
		return entry{}, errors.New("decode circuit: it is another account's")
	}
	return e, nil
}

// refresh reads every record. One that is gone, or has a lower number than what
// is known and has not changed meanwhile, is of a stream that was recreated.
func (v *Cache) refresh(ctx context.Context) error {
	v.mu.Lock()
	before := maps.Clone(v.known)
	v.mu.Unlock()
	entries, err := v.board.entries(ctx)
	if err != nil {
		return err
	}
	told := map[key]entry{}
	for _, e := range entries {
		v.learn(e)
		told[key{e.Provider, e.Account}] = e
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for k, was := range before {
		now := told[k]
		if now.sequence >= was.sequence || v.known[k].sequence != was.sequence {
			continue
		}
		if now.sequence == 0 {
			now.Circuit = record.Circuit{Provider: k.provider, Account: k.account, State: record.CircuitClosed}
		}
		v.store(now)
	}
	return nil
}

// learn takes a record in unless a later one is known.
func (v *Cache) learn(e entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.sequence > v.known[key{e.Provider, e.Account}].sequence {
		v.store(e)
	}
}

// store makes a record the one that is known; v.mu is held.
func (v *Cache) store(e entry) {
	k := key{e.Provider, e.Account}
	if was := v.known[k].State; was != e.State {
		v.log.Info("circuit changed", zap.String("provider", e.Provider), zap.String("account", e.Account),
			zap.String("state", string(e.State)), zap.String("cause", e.Cause), zap.String("by", e.By))
	}
	v.known[k] = e
	v.metrics.state(e.Circuit)
}

// Permit is leave to ask about an account's payment, or the reason to wait. The
// zero Pass is leave.
type Permit struct {
	Held  bool
	Wait  time.Duration // Until it may be worth to try again.
	Cause string        // Of the open circuit.

	probe bool
	basis entry // The record that it was decided on.
}

// Probe reports whether p was given to find out whether the circuit may close.
func (p Permit) Probe() bool { return p.probe }

// Control reports whether p is a probe that should ask about a payment which
// the provider has answered before: it knows that one, whatever the payment in
// hand is. Every other probe asks about the payment in hand, because the control
// payment may by now be one that the provider refuses alone.
func (p Permit) Control() bool { return p.probe && p.basis.Probes%2 == 1 }

// Acquire says whether the account may be asked as far as this worker knows.
// jitter, from 0 to 1, spreads what waits, so that a mended credential does
// not bring everything back at once.
func (v *Cache) Acquire(provider, account string, jitter float64) Permit {
	if v == nil {
		return Permit{}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	k := key{provider, account}
	e, now := v.known[k], v.Now()
	if v.tripped[k] {
		return Permit{Held: true, Cause: causeCredential, Wait: v.First + spread(v.Spread, jitter)}
	}
	return v.judge(e, now, jitter)
}

// judge decides on a record.
func (v *Cache) judge(e entry, now time.Time, jitter float64) Permit {
	switch {
	case e.State == "" || e.State == record.CircuitClosed:
		return Permit{basis: e}
	case e.NextProbe == nil:
		return Permit{Held: true, Cause: e.Cause, Wait: v.Spread + spread(v.over(e, now), jitter)}
	case !now.Before(*e.NextProbe):
		return Permit{probe: true, Cause: e.Cause, basis: e}
	}
	return Permit{Held: true, Cause: e.Cause, Wait: min(e.NextProbe.Sub(now), v.Longest) + spread(v.over(e, now), jitter)}
}

// over is the time over which those who are held come back: longer the longer
// the circuit has been open, because each return costs the broker work.
func (v *Cache) over(e entry, now time.Time) time.Duration {
	return min(max(v.Spread, now.Sub(e.Since)/4), longestSpread)
}

func spread(over time.Duration, jitter float64) time.Duration {
	return time.Duration(jitter * float64(over))
}

// AcquireProbe makes sure of a pass just before asking. Of all workers that would
// probe an open circuit, one gets leave; the others wait.
func (v *Cache) AcquireProbe(ctx context.Context, p Permit, jitter float64) (Permit, error) {
	if !p.probe {
		return p, nil
	}
	c := p.basis.Circuit
	until := v.Now().Add(v.Expiry).UTC()
	c.State, c.NextProbe, c.Probes, c.By = record.CircuitHalfOpen, &until, c.Probes+1, v.Name
	e, err := v.board.write(ctx, c, p.basis.sequence)
	if stream.IsConflict(err) {
		return Permit{Held: true, Cause: c.Cause, Wait: v.First + spread(v.Spread, jitter)}, v.reread(ctx, c.Provider, c.Account)
	}
	if err != nil {
		return p, err
	}
	v.learn(e)
	p.basis = e
	return p, nil
}
