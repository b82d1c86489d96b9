package index

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// BenchmarkMillion fills an index with a million payments, or SCALE_PAYMENTS, and measures what a page
// costs, and what memory the process takes: anonymous, and of the mapped file, which the kernel
// takes back when it needs room.
func BenchmarkMillion(b *testing.B) {
	x := open(b, b.TempDir())
	all, batch := 1_000_000, 2000
	for name, into := range map[string]*int{"SCALE_PAYMENTS": &all, "SCALE_BATCH": &batch} {
		if given := os.Getenv(name); given != "" {
			n, err := strconv.Atoi(given)
			must(b, err)
			*into = n
		}
	}
	statuses := order.Payment.Statuses()
	filled := time.Now()
	var most memory
	for n := 0; n < all; n += batch {
		var some []Payment
		for i := range batch {
			some = append(some, entry((n+i)/100, fmt.Sprintf("pay-%x-%d", (n+i)*2654435761%all, n+i), statuses[(n+i)%len(statuses)]))
			some[i].Sequence = uint64(n + i + 1) //nolint:gosec // Small.
		}
		must(b, x.Put(some, Position{Sequence: uint64(n + batch)})) //nolint:gosec // Small.
		if n/batch%20 == 0 {
			most = most.or(resident(b))
		}
	}
	b.Logf("filled with %d in batches of %d: most %v", all, batch, most)
	b.ReportMetric(float64(all)/time.Since(filled).Seconds(), "events/s")
	if info, err := os.Stat(x.path); err == nil {
		b.ReportMetric(float64(info.Size())/(1<<20), "MiB")
	}
	for name, page := range map[string]func() error{
		"list": func() error { _, err := x.List(Query{Status: order.Paid, Limit: 50}); return err },
		"find": func() error {
			_, err := x.Find("o-pay-1-1", []subject.Unit{{Provider: "sandbox", Account: "default"}}, 100)
			return err
		},
		"totals": func() error { _, err := x.Totals(began.Add(200 * 24 * time.Hour)); return err },
		"scan":   func() error { _, err := x.List(Query{Provider: "picpay", Limit: 50}); return err },
		"forget": func() error {
			_, err := x.Forget(func(p Payment) bool { return p.Sequence == uint64(all/2) }, Position{Sequence: 1})
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				must(b, page())
			}
			b.ReportMetric(float64(resident(b).anonymous)/(1<<20), "anonymous-MiB")
		})
	}
}

// memory is what of a process is resident, in bytes.
type memory struct{ anonymous, file int }

func (m memory) String() string {
	return fmt.Sprintf("anonymous %d MiB, of files %d MiB", m.anonymous>>20, m.file>>20)
}

func (m memory) or(n memory) memory {
	return memory{max(m.anonymous, n.anonymous), max(m.file, n.file)}
}

// resident reads it from Linux.
func resident(t testing.TB) (m memory) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		for name, into := range map[string]*int{"RssAnon:": &m.anonymous, "RssFile:": &m.file} {
			if strings.HasPrefix(line, name) {
				kilobytes, err := strconv.Atoi(strings.Fields(line)[1])
				must(t, err)
				*into = kilobytes << 10
			}
		}
	}
	return m
}
