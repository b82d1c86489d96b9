package api

import (
	"errors"
	"sync"
)

// errClosed is what changes get after Close.
var errClosed = errors.New("simulator is stopping")

// entry is a payment's state and, for faults of kind stale, the one before
// the last change.
type entry struct {
	Now    payment  `json:"now"`
	Before *payment `json:"before,omitempty"` // nil when there was none.
	Put    bool     `json:"put,omitempty"`    // Whether a control call made Now.
}

// stale is the state before the last change: nothing when that change made
// the payment, the present one when nobody changed it.
func (e entry) stale() (payment, bool) {
	switch {
	case e.Before != nil:
		return *e.Before, true
	case e.Put:
		return payment{}, false
	}
	return e.Now, true
}

// ledger holds every payment and writes each change down before it is
// visible, so that a killed simulator has lost nothing that it confirmed.
type ledger struct {
	mu      sync.Mutex
	entries map[key]entry
	journal *journal // nil keeps nothing between runs.
	closed  bool
}

// openLedger reads the state file, if there is one. The examples hold where
// it says nothing else.
func openLedger(file string, examples map[key]entry) (*ledger, error) {
	l := &ledger{entries: examples}
	if file == "" {
		return l, nil
	}
	kept, err := readJournal(file)
	if err != nil {
		return nil, err
	}
	for k, e := range kept {
		l.entries[k] = e
	}
	l.journal, err = newJournal(file, l.entries)
	return l, err
}

// get returns a payment's entry, false when it is not known.
func (l *ledger) get(k key) (entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[k]
	return e, ok
}

// put changes a payment. change gets the present state, or nil for a new
// payment, and says what it becomes.
func (l *ledger) put(k key, change func(now *payment) payment) (payment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return payment{}, errClosed
	}
	next := entry{Put: true}
	if former, ok := l.entries[k]; ok {
		next.Before = &former.Now
	}
	next.Now = change(next.Before)
	if l.journal != nil {
		if err := l.journal.append(k, next); err != nil {
			return payment{}, err
		}
	}
	l.entries[k] = next
	if l.journal != nil {
		return next.Now, l.journal.compactWhenLong(l.entries)
	}
	return next.Now, nil
}

func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.journal == nil {
		l.closed = true
		return nil
	}
	l.closed = true
	return l.journal.close(l.entries)
}
