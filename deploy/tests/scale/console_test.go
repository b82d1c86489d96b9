package scale_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/commit"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// BenchmarkConsole prints what the console costs beside a full broker, and what its pages cost a
// reader: SCALE_PAYMENTS payments with SCALE_LETTERS dead letters, SCALE_PAGES pages that
// refresh themselves as a browser does, and how many notifications a committer stores with and without them,
// in SCALE_ROUNDS windows of SCALE_SECONDS of each, 8 at least, in which every page is refreshed.
func BenchmarkConsole(b *testing.B) {
	payments, letters := scaled(b, "SCALE_PAYMENTS", 5000), scaled(b, "SCALE_LETTERS", 500)
	pages, rounds := scaled(b, "SCALE_PAGES", 50), scaled(b, "SCALE_ROUNDS", 3)
	window := time.Duration(max(scaled(b, "SCALE_SECONDS", 8), 8)) * time.Second
	for b.Loop() {
		p := filled(b, payments, letters)
		c := p.startConsole()
		built := c.build(payments)
		building, closed := c.peak(), p.paint(c, 5)
		var without, with spent
		var open []visit
		for range rounds {
			without.add(c, window)
			stop := c.open(pages)
			with.add(c, window)
			open = append(open, p.paint(c, 3)...) // While they are open, and nothing is stored.
			if still := stop(); still > 0 {
				b.Fatalf("%d of %d pages were never refreshed", still, pages)
			}
		}
		following := c.follow(payments, window, pages)
		reading := c.peak()
		restarted := c.restart()
		report := []string{fmt.Sprintf("%d payments, %d dead letters, %d open pages", payments, letters, pages)}
		report = append(report, paints("the first response, no page open", closed), paints("beside open pages", open))
		report = append(report, fmt.Sprintf("memory of the console, most: while it reads %d payments in %.0f s %.0f MiB, until all is measured %.0f MiB, after a restart %.0f MiB",
			payments, built.Seconds(), building/mebibytes, reading/mebibytes, restarted/mebibytes))
		report = append(report, "stored without pages: "+without.String(), "stored with pages: "+with.String(), following)
		if _, err := fmt.Fprintln(os.Stdout, "\n"+strings.Join(report, "\n")); err != nil { // The testing package cuts off what is longer than ten lines.
			b.Error(err)
		}
		for unit, value := range map[string]float64{
			"ns/op": 0, "building-MiB": building / mebibytes, "reading-MiB": reading / mebibytes, "rate-ratio": middle(with.rates) / middle(without.rates),
			"slowest-ms": slowest(open).Seconds() * 1000, "cores": with.console.Seconds() / with.time.Seconds(),
		} {
			b.ReportMetric(value, unit)
		}
	}
}

// eventsAtOnce are stored twice a second, which is 10,000 events a minute.
const eventsAtOnce = 10_000 / 120

// follow stores events of payments for a window, beside open pages, and says what it costs the
// console to follow them.
func (c *console) follow(payments int, window time.Duration, pages int) string {
	c.T.Helper()
	stop, before, stored := c.open(pages), c.busy(c.cmd), 0
	began := time.Now()
	every := time.NewTicker(time.Second / 2)
	defer every.Stop()
	for ; time.Since(began) < window; <-every.C {
		c.publish(eventsAtOnce, func(i int) *nats.Msg { return c.event(numbered(payments+stored+i), 1, order.Paid) })
		stored += eventsAtOnce
	}
	behind := c.build(payments + stored)
	took := time.Since(began)
	used := (c.busy(c.cmd) - before).Seconds() / took.Seconds()
	stop()
	return fmt.Sprintf("following %.0f events a minute beside open pages: %.3f of a processor, the last event is listed %.1f s after it was stored",
		float64(stored)/took.Minutes(), used, behind.Seconds())
}

// spent is the cost of all windows of one kind.
type spent struct {
	rates                 []float64 // Per second, of each window.
	stored                float64
	time, broker, console time.Duration // The latter two of processors.
}

// add measures one window.
func (s *spent) add(c *console, window time.Duration) {
	c.T.Helper()
	broker, console := c.busy(c.process), c.busy(c.cmd)
	rate := c.rate(window)
	s.rates = append(s.rates, rate)
	s.stored += rate * window.Seconds()
	s.time += window
	s.broker += c.busy(c.process) - broker
	s.console += c.busy(c.cmd) - console
}

func (s *spent) String() string {
	return fmt.Sprintf("%.0f a second of %.0f; the console took %.3f of a processor, the broker %.0f µs for each", middle(s.rates), s.rates,
		s.console.Seconds()/s.time.Seconds(), float64(s.broker.Microseconds())/s.stored)
}

// scaled is a number from the environment.
func scaled(b *testing.B, name string, otherwise int) int {
	b.Helper()
	given := os.Getenv(name)
	if given == "" {
		return otherwise
	}
	n, err := strconv.Atoi(given)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// filled is a broker with payments and dead letters, stored without a sync for each write,
// which takes minutes and changes nothing that is measured.
func filled(b *testing.B, payments, letters int) *plant {
	b.Helper()
	p := build(b, 2*time.Hour)
	p.restartWith(strings.NewReplacer("sync_interval: always", `sync_interval: "1m"`))
	kinds := []order.Status{order.Pending, order.Paid, order.Refunded}
	for from := 0; from < payments; from += backlog {
		p.publish(min(backlog, payments-from), func(i int) *nats.Msg {
			return p.event(numbered(from+i), 1, kinds[(from+i)%len(kinds)])
		})
	}
	p.publish(letters, func(i int) *nats.Msg {
		l := record.DeadLetter{
			ID: fmt.Sprintf("%s-%d", subject.Statuses, i+1), Class: record.ClassProvider, Stage: record.StageNormalize, Provider: "sandbox", Account: "default", Kind: order.Payment,
			Payment: numbered(i), Order: "o-" + numbered(i), Cause: "a word that is not known", LastAnswer: "answered", Stream: subject.Statuses, Sequence: uint64(i) + 1, //nolint:gosec // An index.
			ProviderStatus: fmt.Sprintf("word-%d", i%7), Next: "teach the adapter the word", At: time.Now().UTC(),
		}
		return p.message(p.Tokens.Unit("sandbox", "default", l.Payment).DeadLetter(string(l.Class), l.Stage), l)
	})
	p.restartWith(nil)
	return p
}

// restartWith restarts the broker with a change of its configuration, nil for none.
func (p *plant) restartWith(change *strings.Replacer) {
	p.T.Helper()
	p.change = change
	p.restart(syscall.SIGTERM)
}

// numbered is the id of a payment; the ids of payments after one another are far apart.
func numbered(i int) string { return fmt.Sprintf("pay-%08x-%d", uint32(i)*2654435761, i) } //nolint:gosec // It wraps.

// rate is how many notifications a second a committer stores for 64 callers.
func (p *plant) rate(window time.Duration) float64 {
	p.T.Helper()
	c, err := commit.New(p.nc, commit.Options{Stream: subject.Notifications, GroupCommit: func() bool { return true }})
	p.Must(err)
	ctx, cancel := context.WithTimeout(p.Ctx, window)
	defer cancel()
	var stored atomic.Int64
	var callers sync.WaitGroup
	began := time.Now()
	for caller := range 64 {
		callers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("rate-%d-%d-%d", began.UnixNano(), caller, n)
				m := p.notification(id)
				if _, err := c.Store(ctx, commit.Message{ID: id, Subject: m.Subject, Body: m.Data}); err == nil {
					stored.Add(1)
				}
			}
		})
	}
	callers.Wait()
	return float64(stored.Load()) / time.Since(began).Seconds()
}

// visit is the time to the whole first response of one page.
type visit struct {
	page string
	took time.Duration
}

// paint reads every kind of page several times.
func (p *plant) paint(c *console, times int) (all []visit) {
	p.T.Helper()
	for range times {
		for _, page := range kindsOfPages() {
			all = append(all, visit{page.name, c.see(page.path)})
		}
	}
	return all
}

type kindOfPage struct{ name, path string }

// kindsOfPages are the pages, with every way to choose what a list shows.
func kindsOfPages() []kindOfPage {
	one := numbered(17)
	return []kindOfPage{
		{"now", "/"}, {"payments", "/payments"}, {"payments by status", "/payments?status=paid&sort=oldest"}, {"payments of another provider", "/payments?provider=picpay"},
		{"search", "/payments?q=o-" + one}, {"payment", "/payments/sandbox/default/" + one}, {"dead letters", "/dead"}, {"dead letters by word", "/dead?word=word-3"},
		{"providers", "/providers"}, {"broker", "/broker"},
	}
}

func slowest(all []visit) time.Duration {
	return slices.MaxFunc(all, func(a, b visit) int { return int(a.took - b.took) }).took
}

// middle is the median.
func middle(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// paints is a table of visits.
func paints(name string, all []visit) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "%s\tmedian ms\tmost ms\n", name)
	for _, page := range kindsOfPages() {
		var took []float64
		for _, v := range all {
			if v.page == page.name {
				took = append(took, v.took.Seconds()*1000)
			}
		}
		_, _ = fmt.Fprintf(table, "%s\t%.1f\t%.1f\n", page.name, middle(took), slices.Max(took))
	}
	_ = table.Flush() // It writes to memory.
	return text.String()
}
