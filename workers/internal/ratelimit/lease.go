package ratelimit

import (
	"slices"
	"time"
)

// leaseTerm is how long a worker may look up after it has sent a renewal that the broker
// confirmed. A guess: three renewals may fail.
const leaseTerm = 4 * time.Second

// leaseGrace is how much longer the others count a worker. Both are measured by monotonic
// clocks, which differ by far less.
const leaseGrace = time.Second

// endedKept is how long a worker whose lease has ended is remembered after its last
// renewal. A guess: its leases are repeated within seconds. A later one would be counted
// until it is overdue.
const endedKept = time.Minute

// clockSkew is how far the times of two stored leases may differ from the truth, because
// the stream may have had another leader. A guess, far above that of synchronized clocks.
const clockSkew = 10 * time.Second

// lease is what a worker stores under its name on LEASES, and renews.
type lease struct {
	Providers []string `json:"providers"`          // Whose payments it looks up.
	Counts    []string `json:"counts"`             // The other workers that it shares the limits with.
	Replaces  string   `json:"replaces,omitempty"` // The name that the same worker had before.
	Ended     bool     `json:"ended,omitempty"`
}

// storedLease is a lease as it is stored.
type storedLease struct {
	lease
	name     string
	sequence uint64
	at       time.Time // When the broker stored it.
}

// members is what one worker knows of the workers that share the limits. Of any two that
// look up, each counts the other, so that their shares are never more than the whole:
//   - A worker that joins has no share until all others have named it in their leases.
//   - A worker has no share once leaseTerm has passed since it sent the last renewal that was
//     confirmed. It joins again under another name.
//   - A worker is counted until it says that its lease has ended, or until leaseTerm and
//     leaseGrace have passed since its last renewal was seen.
//
// All times are those of this worker's monotonic clock.
type members struct {
	name   string
	before string    // The last name before whose lease was confirmed; it has ended.
	until  time.Time // When this worker's lease ends; zero before it is confirmed.
	shares bool      // Every other worker has counted this one.
	others map[string]member
}

// member is another worker.
type member struct {
	lease
	sequence uint64
	seen     time.Time // When its last renewal was seen.
}

func (w member) overdue(now time.Time) bool {
	return !w.Ended && now.Sub(w.seen) > leaseTerm+leaseGrace
}

// join begins a lease under a new name. While the broker is away each attempt has another,
// and the lease that is stored has the last name that was confirmed.
func (m *members) join(name string) {
	if !m.until.IsZero() {
		m.before = m.name
	}
	m.name, m.until, m.shares = name, time.Time{}, false
}

// forget removes the workers whose leases ended long ago.
func (m *members) forget(now time.Time) {
	for name, w := range m.others {
		if w.Ended && now.Sub(w.seen) > endedKept {
			delete(m.others, name)
		}
	}
}

// holds reports whether this worker's lease has not ended.
func (m *members) holds(now time.Time) bool { return now.Before(m.until) }

// confirmed records that the broker has stored a lease of this worker that was sent at a
// time. If the lease has ended meanwhile, it stays so: the others may not count it.
func (m *members) confirmed(sent, now time.Time) {
	if m.until.IsZero() || m.holds(now) {
		m.until = sent.Add(leaseTerm)
	}
}

// take takes a lease in. It reports whether it is that of a worker that was not counted.
func (m *members) take(l storedLease, now time.Time) (fresh bool) {
	was, known := m.others[l.name]
	if l.name == m.name || l.name == m.before || known && l.sequence <= was.sequence {
		return false
	}
	m.others[l.name] = member{lease: l.lease, sequence: l.sequence, seen: now}
	m.drop(l.Replaces)
	return !l.Ended && (!known || was.Ended)
}

// drop stops counting a worker.
func (m *members) drop(name string) {
	if w, known := m.others[name]; known {
		w.Ended = true
		m.others[name] = w
	}
}

// takeAll takes all leases in as the stream's leader has them. A worker that is overdue is
// not counted any more: its lease was read again, because a renewal may not have been
// repeated to this worker. began is when the reading began. alone is true if there is no
// lease but this worker's.
func (m *members) takeAll(all []storedLease, began, now time.Time) (alone bool) {
	var own time.Time
	alone = true
	for _, l := range all {
		if l.name == m.name {
			own = l.at
			continue
		}
		alone = false
		if l.sequence < m.others[l.name].sequence { // LEASES was recreated.
			delete(m.others, l.name)
		}
		m.take(l, now)
	}
	for name, w := range m.others {
		if w.overdue(began) {
			m.drop(name)
		}
	}
	for _, l := range all {
		if own.Sub(l.at) > leaseTerm+leaseGrace+clockSkew { // It was overdue when this worker joined.
			m.drop(l.name)
		}
	}
	return alone
}

// overdue reports whether a worker may have to be dropped, so that the leases must be read.
func (m *members) overdue(now time.Time) bool {
	for _, w := range m.others {
		if w.overdue(now) {
			return true
		}
	}
	return false
}

// counts lists the workers that are counted.
func (m *members) counts() []string {
	names := []string{}
	for name, w := range m.others {
		if !w.Ended {
			names = append(names, name)
		}
	}
	return names
}

// share is this worker's share of the limits of a provider's accounts, 0 for none.
func (m *members) share(provider string) float64 {
	n, counted := 1.0, !m.until.IsZero()
	for _, name := range m.counts() {
		w := m.others[name]
		counted = counted && slices.Contains(w.Counts, m.name)
		if slices.Contains(w.Providers, provider) {
			n++
		}
	}
	if m.shares = m.shares || counted; !m.shares {
		return 0
	}
	return 1 / n
}
