package scale_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/record"
)

// state is one thing that the broker stores for a payment, with ids of 36 bytes.
type state struct {
	name  string
	store func(p *plant, payments int)

	memory, disk, restart float64 // For each payment, beside an empty store: bytes, bytes and nanoseconds.
}

// states are what a deployment stores.
func states() []*state {
	return []*state{
		{name: "a notification", store: func(p *plant, payments int) {
			p.publish(payments, func(int) *nats.Msg { return p.notification(uuid.NewString()) })
		}},
		{name: "an observation", store: func(p *plant, payments int) {
			p.publish(payments, func(int) *nats.Msg { return p.observation(uuid.NewString()) })
		}},
		{name: "a payment of four events", store: func(p *plant, payments int) { p.settled(payments, 4) }},
		{name: "the same, compacted", store: func(p *plant, payments int) { p.settled(payments, 1) }},
		{name: "a parked look-up", store: func(p *plant, payments int) {
			due := time.Now().Add(12 * time.Hour)
			p.publish(payments, func(i int) *nats.Msg {
				return p.schedule(record.ScheduledLookUp{
					Payment: uuid.NewString(), Covers: uint64(i) + 1, Notification: uuid.NewString(), Cause: order.CauseNotification, Attempts: 1, DueAt: due, //nolint:gosec // An index.
				})
			})
		}},
	}
}

// BenchmarkSizing prints what the broker needs for each thing that it stores, and what that
// makes for a number of payments a day. SCALE_PAYMENTS is how many of each it stores, 100,000
// by default; 1000000 takes an hour and 10 GB of disk.
func BenchmarkSizing(b *testing.B) {
	payments := backlog
	if text := os.Getenv("SCALE_PAYMENTS"); text != "" {
		var err error
		if payments, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		empty := sizeOf(b, payments, func(*plant, int) {})
		all := states()
		for _, s := range all {
			full := sizeOf(b, payments, s.store)
			each := func(with, without float64) float64 { return (with - without) / float64(payments) }
			s.memory, s.disk, s.restart = each(full.memory, empty.memory), each(full.disk, empty.disk), each(full.restart, empty.restart)
		}
		round := firstRound(b, payments)
		_, err := fmt.Fprintf(os.Stdout, "%s\n\n%s\n\nthe first round of sweep over %d events: %.1f s\n", // The testing package cuts off what is longer than ten lines.
			sizes(all, payments, empty), needs(all, empty), 2*payments, round.Seconds())
		if err != nil {
			b.Error(err)
		}
		b.ReportMetric(0, "ns/op") // The time of the whole says nothing.
		for _, s := range all {
			b.ReportMetric(s.memory, "memory-B/"+strings.ReplaceAll(s.name, " ", "-"))
		}
	}
}

// size is what a broker needs: bytes, and nanoseconds from its kill until it answers.
type size struct{ memory, disk, restart float64 }

// sizeOf is the size of a broker after store has filled it and it was killed. It is filled
// without a sync for each write, which takes minutes and changes nothing that is measured.
func sizeOf(b *testing.B, payments int, store func(p *plant, payments int)) size {
	b.Helper()
	p := build(b, time.Hour)
	p.end(syscall.SIGTERM)
	p.change = strings.NewReplacer("sync_interval: always", `sync_interval: "1m"`, "max_file_store: 8GB", "max_file_store: 128GB")
	p.start()
	p.Until("the broker to answer", func() bool { return p.answers() && p.nc.IsConnected() })
	_, err := topology.Apply(p.Ctx, p.JS, topology.Settings{Replicas: 1, Store: 96 << 30, Providers: []string{"sandbox"}})
	p.Must(err)
	store(p, payments)
	p.change = strings.NewReplacer("max_file_store: 8GB", "max_file_store: 128GB")
	p.restart(syscall.SIGTERM)
	took := p.restart(syscall.SIGKILL)
	s := size{memory: p.memory(), disk: p.disk(), restart: float64(took)}
	p.end(syscall.SIGKILL)
	p.Must(os.RemoveAll(p.store())) // Not only when all are measured.
	return s
}

// settled stores payments with the last of four events each.
func (p *plant) settled(payments, last int) {
	p.T.Helper()
	log := []order.Status{order.Pending, order.Authorized, order.Paid, order.Settled}
	var payment, of string
	p.publish(payments*last, func(i int) *nats.Msg {
		if i%last == 0 {
			payment, of = uuid.NewString(), uuid.NewString()
		}
		at := len(log) - last + i%last
		e := order.Event{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: of,
			Transition: uint64(at) + 1, Status: log[at], Confirmed: true, ProviderStatus: string(log[at]), //nolint:gosec // An index.
			Amount: &order.Amount{Currency: "BRL", Value: 10000}, ObservedAt: time.Now().UTC(), Observation: uint64(i) + 1, //nolint:gosec // An index.
		}
		if at > 0 {
			e.From = &log[at-1]
		}
		m := p.message(p.Tokens.Unit("sandbox", "default", payment).Event(p.Tokens.Token(of), e.Status), e)
		for name, value := range e.CloudEvent("", p.Tokens.Shown(of)) {
			m.Header.Set(name, value)
		}
		return m
	})
}

// observation is one as lookup stores it.
func (p *plant) observation(payment string) *nats.Msg {
	now := time.Now().UTC()
	return p.message(p.Tokens.Unit("sandbox", "default", payment).Status(), order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: uuid.NewString(),
		Status: order.Paid, ProviderStatus: "paid", Confirmed: true, Cause: order.CauseNotification, Amount: &order.Amount{Currency: "BRL", Value: 10000},
		AskedAt: now, AnsweredAt: now, Covers: 1, Notification: uuid.NewString(), NotifiedAt: &now, NotificationsCreated: now,
	})
}

// firstRound is the time of the first round of a sweep that was just started, over payments
// of two events.
func firstRound(b *testing.B, payments int) time.Duration {
	b.Helper()
	p := build(b, time.Hour)
	_, err := topology.Apply(p.Ctx, p.JS, topology.Settings{Replicas: 1, Store: 8 << 30, Providers: providers.All.Names()})
	p.Must(err)
	p.end(syscall.SIGTERM)
	p.change = strings.NewReplacer("sync_interval: always", `sync_interval: "1m"`)
	p.start()
	p.Until("the broker to answer", func() bool { return p.answers() && p.nc.IsConnected() })
	p.settled(payments, 2)
	s := p.startSweep()
	defer s.end()
	return s.round()
}

// sizes is the table of what each thing needs.
func sizes(all []*state, payments int, empty size) string {
	rows := []string{fmt.Sprintf("%d of each\tmemory B\tdisk B\tkilled to ready µs\t", payments)}
	for _, s := range all {
		rows = append(rows, fmt.Sprintf("%s\t%.0f\t%.0f\t%.1f\t", s.name, s.memory, s.disk, s.restart/1000))
	}
	return table(append(rows, fmt.Sprintf("nothing\t%.0f MiB\t%.0f MiB\t%.0f ms\t", empty.memory/mebibytes, empty.disk/mebibytes, empty.restart/1e6)))
}

// What a payment is in the sizing: two webhooks, three answers and four events. What is
// stored of it stays for as long as sweep and the streams keep it by default.
var (
	webhooks, answers   = 2.0, 3.0
	keptDays, seenDays  = 3.0, 30.0 // Notifications and observations.
	movedDays, yearDays = 180.0, 365.0
	waiting             = 0.01 // The share of a day's payments whose look-up is parked.
)

// needs is the table of what numbers of payments a day make after a year.
func needs(all []*state, empty size) string {
	counts := func(day float64) []float64 {
		return []float64{keptDays * webhooks * day, seenDays * answers * day, movedDays * day, (yearDays - movedDays) * day, waiting * day}
	}
	rows := []string{"payments a day, for a year\tmemory GiB\tdisk GiB\tkilled to ready s\t"}
	for _, day := range []float64{1e3, 1e4, 1e5, 1e8 / yearDays} {
		sum := empty
		for i, n := range counts(day) {
			sum.memory, sum.disk, sum.restart = sum.memory+n*all[i].memory, sum.disk+n*all[i].disk, sum.restart+n*all[i].restart
		}
		rows = append(rows, fmt.Sprintf("%.0f\t%.2f\t%.2f\t%.1f\t", day, sum.memory/(1<<30), sum.disk/(1<<30), sum.restart/1e9))
	}
	return table(rows) + fmt.Sprintf("\neach is nothing's + a day's payments × (%.0f × a notification + %.0f × an observation + %.0f × four events + %.0f × compacted + %.2f × parked)",
		keptDays*webhooks, seenDays*answers, movedDays, yearDays-movedDays, waiting)
}

func table(rows []string) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, row)
	}
	_ = w.Flush() // It writes to memory.
	return strings.TrimRight(text.String(), " \n")
}
