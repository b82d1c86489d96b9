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

// BenchmarkMillion fills an index with a million payments, or SCALE_PAYMENTS, opens it again, and measures
// what a page and an erasure cost, and the most memory that the process takes meanwhile.
func BenchmarkMillion(b *testing.B) {
	folder := b.TempDir()
	x := open(b, folder)
	all, batch := 1_000_000, 200
	for name, into := range map[string]*int{"SCALE_PAYMENTS": &all, "SCALE_BATCH": &batch} {
		if given := os.Getenv(name); given != "" {
			n, err := strconv.Atoi(given)
			must(b, err)
			*into = n
		}
	}
	statuses := order.Payment.Statuses()
	named := func(n int) string { return fmt.Sprintf("pay-%x-%d", n*2654435761%all, n) }
	fill := func() error {
		for n := 0; n < all; n += batch {
			var some []Payment
			for i := range batch {
				some = append(some, entry((n+i)/100, named(n+i), statuses[(n+i)%len(statuses)]))
				some[i].Sequence = uint64(n + i + 1) //nolint:gosec // Small.
			}
			if err := x.Put(some, Position{Sequence: uint64(n + batch)}); err != nil { //nolint:gosec // Small.
				return err
			}
		}
		return nil
	}
	reopen := func() error {
		err := x.Close()
		if err == nil {
			x, err = Open(folder, tokens(b))
		}
		return err
	}
	gone, after := 0, ""
	for _, one := range []struct {
		name string
		page func() error
	}{
		{"fill", fill},
		{"reopen", reopen},
		{"list", func() error { _, err := x.List(Query{Status: order.Paid, Limit: 50}); return err }},
		{"find", func() error {
			_, err := x.Find("o-"+named(all/2), []subject.Unit{{Provider: "sandbox", Account: "default"}}, 100)
			return err
		}},
		{"totals", func() error { _, err := x.Totals(began.Add(200 * 24 * time.Hour)); return err }},
		{"scan", func() error { _, err := x.List(Query{Provider: "picpay", Limit: 50}); return err }},
		{"2000pages", func() error {
			for range 2000 {
				page, err := x.List(Query{After: after, Limit: 50})
				if after = page.Next; err != nil {
					return err
				}
			}
			return nil
		}},
		{"forget", func() error {
			forget(b, x, named(gone))
			gone++
			return nil
		}},
	} {
		b.Run(one.name, func(b *testing.B) {
			forgetPeak(b)
			for b.Loop() {
				must(b, one.page())
			}
			b.ReportMetric(peak(b), "peak-MiB")
			info, err := os.Stat(x.path)
			must(b, err)
			b.ReportMetric(float64(info.Size())/(1<<20), "file-MiB")
		})
	}
	must(b, x.Close())
}

// forgetPeak has Linux begin again with the most memory of the process.
func forgetPeak(t testing.TB) {
	t.Helper()
	must(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600))
}

// peak is the most memory that the process had resident, in MiB: its own and that of files.
func peak(t testing.TB) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmHWM:") {
			kilobytes, err := strconv.Atoi(strings.Fields(line)[1])
			must(t, err)
			return float64(kilobytes) / (1 << 10)
		}
	}
	t.Fatal("Linux does not say how much memory the process has")
	return 0
}
