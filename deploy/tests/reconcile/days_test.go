package reconcile_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tests/reconcile"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// outage is a payment whose provider is down for longer than its policy waits.
type outage struct {
	payment reconcile.Payment
	word    string // What the provider says of it once it is back.
	policy  string
}

// TestProviderDownForThreeDays is a run of the real binaries on a clock that
// is turned: each payment is parked for the times that its policy says, then
// becomes one dead letter of class provider; redriven after the recovery, it
// becomes the right event.
func TestProviderDownForThreeDays(t *testing.T) {
	t.Parallel()
	p := build(t, 8*time.Minute)
	d, faults := newDriver(p), &trouble{p: p}
	outages := []outage{
		{reconcile.Payment{Provider: "yapay", Account: "default", ID: "down-yapay"}, "6", "yapay"},
		{reconcile.Payment{Provider: "sandbox", Account: "default", ID: "down-sandbox"}, "paid", "default"},
	}
	var all sync.WaitGroup
	for _, o := range outages {
		faults.setFault(o.payment.Provider, "", "500")
		all.Go(func() { p.checkDays(o) })
		d.tell(o.payment, step{Word: o.word})
	}
	all.Wait()
	if left := drain(p); left != "" {
		t.Fatalf("the backlog does not drain:\n%s", left)
	}
	for _, o := range outages {
		checkLetters(t, o, p.read().Letters)
		faults.setFault(o.payment.Provider, "", "none")
	}

	redrive := p.command("arauto", "dead", "redrive", "--class", "provider", "--config", p.config())
	redrive.Env = append(redrive.Env, "NATS_USER=operator", "NATS_PASSWORD=operatorpw")
	said, err := redrive.CombinedOutput()
	if err != nil || strings.Count(string(said), ": redriven\n") != len(outages) {
		t.Fatalf("redrive: %v\n%s", err, said)
	}
	if !p.poll(func() bool { return len(p.read().Events) == len(outages) }) {
		t.Fatal("what was redriven becomes no event")
	}
	if left := drain(p); left != "" {
		t.Fatalf("the backlog does not drain:\n%s", left)
	}
	s := p.read()
	for _, e := range s.Events {
		if r := e.Record; r.Status != order.Paid || r.Transition != 1 || !r.Confirmed || r.Amount == nil || r.Amount.Value != 10000 {
			t.Errorf("event is %+v", r)
		}
	}
	s.Spans = order.Standard.Scaled(turned)
	for _, f := range reconcile.Audit(s, d.truths).Findings {
		t.Errorf("%s: %s\n\t%s", f.Payment, f.Text, strings.Join(f.Timeline, "\n\t"))
	}
	if len(s.Events) != len(outages) || len(s.Parked) > 0 || p.endings() != none {
		t.Errorf("in the end there are %d events, %d parked look-ups, and %s", len(s.Events), len(s.Parked), p.endings())
	}
}

func (p *plant) read() reconcile.Streams {
	p.t.Helper()
	s, err := reconcile.Read(p.ctx, p.js)
	testbench.Must(p.t, err)
	return s
}

// checkDays watches what is parked for a payment until it is given up, and
// holds each due time to the policy.
func (p *plant) checkDays(o outage) {
	named, err := providers.All.RetryPolicy(o.policy)
	if err != nil {
		p.t.Error(err)
		return
	}
	policy := named.Scaled(turned)
	places, err := p.waits(o.payment)
	if err != nil {
		p.t.Errorf("%s: %v", o.payment, err)
		return
	}
	if len(places) == 0 || places[len(places)-1].Record.Attempts != len(policy.Offsets)-1 {
		p.t.Errorf("%s was seen parked %d times, the last %+v", o.payment, len(places), places)
		return
	}
	onTime, first := 0, places[0].Record.FirstFailure
	for _, place := range places {
		w := place.Record
		if w.FirstFailure == nil || !w.FirstFailure.Equal(*first) || w.Reason != string(record.Unavailable) || w.Cause != order.CauseNotification {
			p.t.Errorf("%s is parked as %+v, its first failure was at %s", o.payment, w, first)
			continue
		}
		offset := policy.Offsets[w.Attempts]
		latest := policy.Wait(offset + time.Duration(policy.Jitter*float64(offset)))
		switch wait := w.DueAt.Sub(*first); {
		case wait >= policy.Wait(offset) && wait <= latest:
			onTime++
		case place.At.Sub(*first) <= policy.Wait(offset) || w.DueAt.Sub(place.At) > policy.Wait(gap)+clocks || wait < policy.Wait(offset):
			// The broker fires up to some turned hours late, by its real clock. A time
			// that has passed when a failure is met is made up for a little later.
			p.t.Errorf("%s, attempt %d: due %v after the first failure, the policy says %v to %v", o.payment, w.Attempts, wait, policy.Wait(offset), latest)
		}
	}
	if onTime == 0 { // Each of the others was excused above, by the time at which it was parked.
		p.t.Errorf("%s: no due time is the policy's own", o.payment)
	}
}

// clocks is how far ahead of the broker's clock a worker's may be on a busy machine,
// by as long as its reading took, in real time.
const clocks = 250 * time.Millisecond

// gap is the wait for an attempt whose time has passed.
const gap = 5 * time.Second

// waits collects what is parked for a payment, each once, from the first until
// nothing is parked any more. Waits of a few milliseconds may be missed.
func (p *plant) waits(payment reconcile.Payment) ([]reconcile.Stored[record.ScheduledLookUp], error) {
	tokens, err := subject.Keyed(hashKey)
	if err != nil {
		return nil, err
	}
	retries, err := p.js.Stream(p.ctx, subject.LookupRetries)
	if err != nil {
		return nil, err
	}
	var places []reconcile.Stored[record.ScheduledLookUp]
	var given bool
	unit := tokens.Unit(payment.Provider, payment.Account, payment.ID)
	on := tokens.Waiting(payment.Provider, payment.Account, payment.ID).Parked()
	letters, err := p.js.Stream(p.ctx, subject.DeadLetters)
	if err != nil {
		return nil, err
	}
	for !given && pause(p.ctx, 2*time.Millisecond) {
		raw, err := retries.GetLastMsgForSubject(p.ctx, on)
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return places, err
		}
		if err == nil && (len(places) == 0 || places[len(places)-1].Sequence != raw.Sequence) {
			place := reconcile.Stored[record.ScheduledLookUp]{Sequence: raw.Sequence, At: raw.Time}
			if err := json.Unmarshal(raw.Data, &place.Record); err != nil {
				return places, err
			}
			places = append(places, place)
		}
		_, err = letters.GetLastMsgForSubject(p.ctx, unit.DeadLetter("*", "lookup"))
		given = err == nil
	}
	return places, p.ctx.Err()
}

// checkLetters wants one dead letter about a payment, of class provider and
// with every attempt spent.
func checkLetters(t *testing.T, o outage, all []reconcile.Stored[record.DeadLetter]) {
	t.Helper()
	policy, err := providers.All.RetryPolicy(o.policy)
	testbench.Must(t, err)
	var letters []record.DeadLetter
	for _, l := range all {
		if l.Record.Provider == o.payment.Provider && l.Record.Payment == o.payment.ID {
			letters = append(letters, l.Record)
		}
	}
	if len(letters) != 1 || letters[0].Class != record.ClassProvider || letters[0].Attempts != len(policy.Offsets) ||
		letters[0].LastAnswer != string(record.Unavailable) || letters[0].Stream != subject.Notifications {
		t.Errorf("%s ended as %+v", o.payment, letters)
	}
}
