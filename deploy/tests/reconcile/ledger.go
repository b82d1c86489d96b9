// Package reconcile proves from the streams alone that nothing accepted was lost
// or forgotten: it says of every stored notification which one of the six
// allowed ends it came to, and holds the order logs to their contract.
package reconcile

import (
	"fmt"
	"slices"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
)

// Category is how an accepted notification ended. There is no seventh.
type Category string

// The categories. A parked one has a due time, a dead letter a class and a
// cause.
const (
	Event      Category = "event"
	Unchanged  Category = "unchanged"
	Late       Category = "late"
	Superseded Category = "superseded"
	Parked     Category = "parked"
	Dead       Category = "dead letter"
)

// Categories lists every category, in the order of their declaration.
func Categories() []Category { return []Category{Event, Unchanged, Late, Superseded, Parked, Dead} }

// Stored is a document as a stream holds it.
type Stored[T any] struct {
	Sequence uint64
	At       time.Time // The broker's timestamp.
	Record   T
}

// Streams is what the streams hold, in the order of their sequences.
type Streams struct {
	Notifications []Stored[record.Notification]
	Observations  []Stored[order.Observation]
	Events        []Stored[order.Event]
	Parked        []Stored[record.ScheduledLookUp] // Schedules that have not fired.
	Fired         []Stored[record.ScheduledLookUp] // Fired schedules that are still stored; they end nothing.
	Letters       []Stored[record.DeadLetter]
	Read          time.Time   // When they were read.
	Spans         order.Spans // Of the workers that folded them; order.Standard by default.
}

// Payment names one payment of one account.
type Payment struct{ Provider, Account, ID string }

func (p Payment) String() string { return p.Provider + "/" + p.Account + "/" + p.ID }

// Truth is what whoever drove a payment knows of it.
type Truth struct {
	Accepted int          // How many of its notifications were answered 200.
	Status   order.Status // Where it stands at the provider in the end, "" where that is not to be compared.
	Refunded int64
}

// Row is one accepted notification and how it ended.
type Row struct {
	Sequence uint64
	Payment  Payment
	Category Category
	Why      string // Class and cause of a dead letter, cause of a wait, else "".
}

// Finding is something that must not be, with what happened to the payment.
type Finding struct {
	Payment  Payment
	Text     string
	Timeline []string
}

// Ledger is the account of a run.
type Ledger struct {
	Rows     []Row
	Findings []Finding
}

// Audit says of every notification how it ended, and of every payment what is
// wrong with its streams and with regard to what its driver knows. It is a
// pure function, so that the judge itself can be tested.
func Audit(s Streams, truths map[Payment]Truth) Ledger {
	var l Ledger
	if s.Spans == (order.Spans{}) {
		s.Spans = order.Standard
	}
	for _, f := range files(s, truths) {
		f.fold()
		findings := slices.Concat(f.judge(&l), f.checkChain(), f.checkLog(), f.checkLetters(), f.checkTruth(truths[f.payment], l.Rows))
		if len(findings) == 0 {
			continue
		}
		timeline := f.timeline()
		for _, text := range findings {
			l.Findings = append(l.Findings, Finding{Payment: f.payment, Text: text, Timeline: timeline})
		}
	}
	return l
}

// file is everything about one payment.
type file struct {
	Streams
	payment  Payment
	outcomes []order.Outcome // Of Observations.
	standing []order.Standing
}

// files sorts the streams by payment, in the order of their first mention.
func files(s Streams, truths map[Payment]Truth) []*file {
	byPayment := map[Payment]*file{}
	var all []*file
	of := func(provider, account, id string) *file {
		p := Payment{provider, account, id}
		if byPayment[p] == nil {
			byPayment[p] = &file{payment: p, Streams: Streams{Read: s.Read, Spans: s.Spans}}
			all = append(all, byPayment[p])
		}
		return byPayment[p]
	}
	for _, n := range s.Notifications {
		f := of(n.Record.Provider, n.Record.Account, n.Record.Payment)
		f.Notifications = append(f.Notifications, n)
	}
	for _, o := range s.Observations {
		f := of(o.Record.Provider, o.Record.Account, o.Record.Payment)
		f.Observations = append(f.Observations, o)
	}
	for _, e := range s.Events {
		f := of(e.Record.Provider, e.Record.Account, e.Record.Payment)
		f.Events = append(f.Events, e)
	}
	for _, p := range s.Parked {
		f := of(p.Record.Provider, p.Record.Account, p.Record.Payment)
		f.Parked = append(f.Parked, p)
	}
	for _, p := range s.Fired {
		f := of(p.Record.Provider, p.Record.Account, p.Record.Payment)
		f.Fired = append(f.Fired, p)
	}
	for _, d := range s.Letters {
		f := of(d.Record.Provider, d.Record.Account, d.Record.Payment)
		f.Letters = append(f.Letters, d)
	}
	for p := range truths {
		of(p.Provider, p.Account, p.ID)
	}
	return all
}

// fold runs the declared rules over the payment's observations.
func (f *file) fold() {
	var at order.Standing
	for _, o := range f.Observations {
		var outcome order.Outcome
		at, outcome = at.FoldWithin(f.Spans, o.Record, o.At)
		f.outcomes, f.standing = append(f.outcomes, outcome), append(f.standing, at)
	}
}

// judge writes a row for every notification that ended as exactly one thing,
// and returns what is wrong with the others.
func (f *file) judge(l *Ledger) []string {
	var findings []string
	for _, n := range f.Notifications {
		rows := f.ends(n)
		if len(rows) == 1 {
			l.Rows = append(l.Rows, rows[0])
			continue
		}
		text := fmt.Sprintf("notification %d ended as nothing", n.Sequence)
		if len(rows) > 1 {
			text = fmt.Sprintf("notification %d ended twice: %s and %s", n.Sequence, rows[0].Category, rows[1].Category)
		}
		findings = append(findings, text)
	}
	return findings
}
