package scale_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// TestBrokerRestartLosesNoParkedLookUp is short enough for the race detector;
// BenchmarkBrokerRestart does the same with 10,000.
func TestBrokerRestartLosesNoParkedLookUp(t *testing.T) {
	t.Parallel()
	surviveRestarts(t, 500, 4*time.Minute)
}

// BenchmarkBrokerRestart is the proof with 10,000 parked look-ups.
func BenchmarkBrokerRestart(b *testing.B) {
	for b.Loop() {
		surviveRestarts(b, 10_000, 5*time.Minute)
	}
}

// surviveRestarts parks look-ups, kills the broker with SIGKILL before the
// first is due and again while they fire and are worked on, and wants each
// payment to be observed and announced once.
func surviveRestarts(t testing.TB, count int, limit time.Duration) {
	t.Helper()
	p := build(t, limit)
	const spread = 3 * time.Second
	payment := func(i int) string { return fmt.Sprintf("r-%d", i) }
	began := time.Now()
	stands := p.publish(count, func(i int) *nats.Msg { return p.notification(payment(i)) })
	// Parking as many takes a little longer, and much longer on a busy machine.
	first := time.Now().Add(max(4*time.Second, 5*time.Since(began)))
	p.publish(count, func(i int) *nats.Msg {
		return p.schedule(record.ScheduledLookUp{
			Payment: payment(i), Covers: stands[i], Notification: payment(i), Cause: order.CauseNotification, Attempts: 1,
			DueAt: first.Add(spread / time.Duration(count) * time.Duration(i)),
		})
	})
	if got := p.parked(); got != count || time.Now().After(first) {
		t.Fatalf("%d of %d look-ups are parked %v before the first is due", got, count, time.Until(first))
	}
	p.restart(syscall.SIGKILL)
	if got := p.parked(); got != count && time.Now().Before(first) {
		t.Fatalf("%d of %d parked look-ups are left after a kill", got, count)
	}
	p.work(subject.LookupRetries, subject.LookupDueConsumer("sandbox"), p.lookup.HandleDue)
	p.work(subject.Statuses, subject.NormalizeConsumer, p.fold.Handle)

	p.Until("a quarter to be observed", func() bool { return len(p.subjects(subject.Statuses, "statuses.>")) >= count/4 })
	if left := p.parked(); left == 0 {
		t.Error("everything had fired before the second kill, so it shows little")
	}
	p.restart(syscall.SIGKILL)
	p.Until("everything to be done", func() bool {
		return p.parked() == 0 && p.idle(subject.LookupRetries, subject.LookupDueConsumer("sandbox")) &&
			p.idle(subject.Statuses, subject.NormalizeConsumer)
	})
	p.onceEach(count, payment)
	t.Logf("%d parked look-ups, the provider was asked %d times", count, p.asked.Load())
}

// onceEach wants one observation and one event of every payment, no other
// event, and no dead letter.
func (p *plant) onceEach(count int, payment func(i int) string) {
	p.T.Helper()
	observed, events := p.subjects(subject.Statuses, "statuses.>"), p.subjects(subject.Orders, "orders.>")
	lost, repeated := 0, 0
	for i := range count {
		u := p.Tokens.Unit("sandbox", "default", payment(i))
		seen, announced := observed[u.Status()], events[u.Event("o-"+payment(i), order.Paid)]
		if seen == 0 || announced == 0 {
			lost++
		}
		if seen > 1 || announced > 1 {
			repeated++
		}
	}
	if lost > 0 || repeated > 0 {
		p.T.Errorf("%d payments are lost, %d took effect twice", lost, repeated)
	}
	if len(events) != count {
		p.T.Errorf("there are events on %d subjects, want %d", len(events), count)
	}
	if letters := p.subjects(subject.DeadLetters, "dead.>"); len(letters) > 0 {
		p.T.Errorf("there are %d dead letters", len(letters))
	}
	// The broker may leave a few acknowledged messages in a work queue when it
	// is killed (a known fault of it). They are delivered to nobody.
	if left := len(p.subjects(subject.LookupRetries, "lookup.due.>")); left > 0 {
		p.T.Logf("%d look-ups that are done are still stored", left)
	}
}
