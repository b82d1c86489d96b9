package scale_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

const (
	backlog   = 100_000
	firing    = 2000 // Come due while fresh traffic goes on, over the time of it.
	paced     = 2000 // Fresh notifications at a steady rate,
	pace      = 5 * time.Millisecond
	burst     = 3000 // and all at once.
	mebibytes = 1 << 20
)

// BenchmarkParkedBacklog prints what 100,000 parked look-ups cost: memory,
// disk and restart time of the broker, how late they fire, and what fresh
// notifications notice of them. It is a benchmark: nothing but losses is
// judged.
func BenchmarkParkedBacklog(b *testing.B) {
	for b.Loop() {
		p := build(b, 90*time.Second)
		m := &meter{plant: p}
		p.work(subject.Notifications, subject.LookupConsumer("sandbox"), m.fresh)
		p.work(subject.LookupRetries, subject.LookupDueConsumer("sandbox"), m.due)
		m.traffic("warm", 500, 0)

		without := m.measure("without")
		p.parkFar(backlog)
		with := m.measure("with")
		if got := p.parked(); got != backlog {
			b.Fatalf("%d look-ups are parked after two restarts, want %d", got, backlog)
		}
		fires := m.fire()
		report(b, without, with, fires)
	}
}

// figures are what is measured in one state of the system.
type figures struct {
	memory, idle, disk float64 // In MiB; idle is after a restart.
	stopped, killed    time.Duration
	steady             spell   // At a steady rate.
	rate               float64 // Per second, of a burst.
	late               spell   // How late look-ups fired.
}

// spell is the middle and the tail of some waits.
type spell struct{ p50, p99 time.Duration }

// spellOf sorts took.
func spellOf(took []time.Duration) spell {
	slices.Sort(took)
	return spell{p50: took[len(took)/2], p99: took[len(took)*99/100]}
}

// meter watches the workers of a plant.
type meter struct {
	*plant
	mu   sync.Mutex
	took map[string]time.Duration // From sent to handled, by fresh payment.
	late map[string]time.Duration // From due to stored by the broker.
}

// fresh handles a notification as production does, and takes the time.
func (m *meter) fresh(ctx context.Context, msg jetstream.Msg) error {
	var n record.Notification
	if err := json.Unmarshal(msg.Data(), &n); err != nil {
		return err
	}
	if err := m.lookup.HandleNotification(ctx, msg); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, again := m.took[n.Payment]; !again {
		m.took[n.Payment] = time.Since(n.ReceivedAt)
	}
	return nil
}

// due handles a look-up that has fired, and notes when the broker stored it.
func (m *meter) due(ctx context.Context, msg jetstream.Msg) error {
	var p record.ScheduledLookUp
	if err := json.Unmarshal(msg.Data(), &p); err != nil {
		return err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	if err := m.lookup.HandleDue(ctx, msg); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.late[p.Payment] = meta.Timestamp.Sub(p.DueAt)
	return nil
}

// traffic sends count notifications, one each interval, and waits until all
// are handled. It returns the times from sent to handled and the rate.
func (m *meter) traffic(name string, count int, interval time.Duration) (spell, float64) {
	m.T.Helper()
	m.mu.Lock()
	m.took = map[string]time.Duration{}
	m.mu.Unlock()
	began := time.Now()
	m.publish(count, func(i int) *nats.Msg {
		m.until(began.Add(interval * time.Duration(i)))
		return m.notification(fmt.Sprintf("%s-%d", name, i))
	})
	m.Until("fresh notifications to be handled", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.took) == count
	})
	rate := float64(count) / time.Since(began).Seconds()
	m.mu.Lock()
	defer m.mu.Unlock()
	var took []time.Duration
	for _, d := range m.took {
		took = append(took, d)
	}
	return spellOf(took), rate
}

// until waits for a time, at once if it is over.
func (m *meter) until(at time.Time) {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.Ctx.Done():
	}
}

// measure takes the figures of the system as it is now.
func (m *meter) measure(name string) figures {
	m.T.Helper()
	var f figures
	f.steady, _ = m.traffic(name+"-steady", paced, pace)
	_, f.rate = m.traffic(name+"-burst", burst, 0)
	f.memory, f.disk = m.memory()/mebibytes, m.disk()/mebibytes
	f.stopped, f.killed = m.restart(syscall.SIGTERM), m.restart(syscall.SIGKILL)
	f.idle = m.memory() / mebibytes
	return f
}

// fire lets look-ups come due during fresh traffic, on top of the backlog.
func (m *meter) fire() figures {
	m.T.Helper()
	var f figures
	m.late = map[string]time.Duration{} // Nothing has fired yet, so nobody reads it.
	first := time.Now().Add(4 * time.Second)
	m.publish(firing, func(i int) *nats.Msg {
		return m.schedule(record.ScheduledLookUp{
			Payment: fmt.Sprintf("due-%d", i), Cause: order.CauseSweep,
			DueAt: first.Add(paced * pace / firing * time.Duration(i)),
		})
	})
	if time.Now().After(first) {
		m.T.Fatal("parking took longer than the first due time was away")
	}
	m.until(first)
	f.steady, _ = m.traffic("firing", paced, pace)
	m.Until("parked look-ups to fire", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.late) == firing
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	var late []time.Duration
	for payment, d := range m.late {
		if d < 0 {
			m.T.Errorf("%s fired %v early", payment, -d)
		}
		late = append(late, d)
	}
	f.memory, f.late = m.memory()/mebibytes, spellOf(late)
	return f
}

// report prints the figures, and gives the main ones to the tools that
// compare benchmarks.
func report(b *testing.B, without, with, fires figures) {
	b.Helper()
	pair := func(one, two time.Duration) string {
		return fmt.Sprintf("%.1f / %.1f", one.Seconds()*1000, two.Seconds()*1000)
	}
	waits := func(s spell) string { return pair(s.p50, s.p99) }
	number := func(n float64) string { return fmt.Sprintf("%.1f", n) }
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range [][]string{ // The testing package cuts off what is longer than ten lines.
		{"", "nothing parked", fmt.Sprintf("%d parked", backlog), fmt.Sprintf("and %d firing", firing)},
		{"broker memory under traffic, MiB", number(without.memory), number(with.memory), number(fires.memory)},
		{"broker memory after a restart, MiB", number(without.idle), number(with.idle), ""},
		{"disk, MiB", number(without.disk), number(with.disk), ""},
		{"SIGTERM / SIGKILL to ready, ms", pair(without.stopped, without.killed), pair(with.stopped, with.killed), ""},
		{"fresh at 200/s, sent to handled, p50 / p99 ms", waits(without.steady), waits(with.steady), waits(fires.steady)},
		{"fresh at full speed, handled per second", number(without.rate), number(with.rate), ""},
		{"fired after its time, p50 / p99 ms", "", "", waits(fires.late)},
	} {
		_, _ = fmt.Fprintln(table, strings.Join(row, "\t")+"\t")
	}
	_ = table.Flush() // It writes to memory.
	b.Log("\n" + strings.TrimRight(text.String(), " \n"))

	for unit, value := range map[string]float64{
		"ns/op":     0, // The time of the whole says nothing.
		"rss-MiB@0": without.idle, "rss-MiB@100k": with.idle, "disk-MiB@0": without.disk, "disk-MiB@100k": with.disk,
		"sigterm-ms@100k": with.stopped.Seconds() * 1000, "sigkill-ms@100k": with.killed.Seconds() * 1000,
		"late-p50-ms": fires.late.p50.Seconds() * 1000, "late-p99-ms": fires.late.p99.Seconds() * 1000,
		"fresh-p99-ms@0": without.steady.p99.Seconds() * 1000, "fresh-p99-ms@100k": with.steady.p99.Seconds() * 1000,
		"fresh-p99-ms@firing": fires.steady.p99.Seconds() * 1000,
		"fresh/s@0":           without.rate, "fresh/s@100k": with.rate,
	} {
		b.ReportMetric(value, unit)
	}
}
