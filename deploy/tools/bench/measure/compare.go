package measure

import (
	"context"
	"fmt"
	"time"

	"arauto/deploy/tools/bench/broker"
	"arauto/deploy/tools/bench/figures"
	"arauto/deploy/tools/bench/load"
)

// comparison is a table of systems at growing numbers of connections.
type comparison struct {
	title         string
	sync          string
	perConnection int
	systems       []system
	files         bool // Batches are staged on the disk, whatever memory there is.
}

func comparisons() map[string]comparison {
	return map[string]comparison{
		partCore: {
			title: "A 200 after fsync (`sync_interval: always`), connections kept",
			sync:  broker.SyncAlways, systems: []system{ours, rivalA, limitC},
		},
		partFiles: {
			title: "A 200 after fsync (`sync_interval: always`), connections kept",
			sync:  broker.SyncAlways, systems: []system{ours, rivalA, limitC}, files: true,
		},
		partLazy: {
			title: "A 200 from the page cache (default sync), connections kept",
			sync:  broker.SyncLazy, systems: []system{ours, rivalA, rivalB, nothingD},
		},
		partClose: {
			title: "A 200 after fsync, a new connection for each request",
			sync:  broker.SyncAlways, perConnection: 1, systems: []system{ours, rivalA},
		},
	}
}

// standardWindow is how long a cell is counted.
const standardWindow = 4 * time.Second

// compare measures every system in turn, round by round, so that what the
// machine does beside it hits all of them alike.
func (b *bench) compare(ctx context.Context, k comparison) (string, error) {
	t := figures.Table{Words: 2}
	for _, n := range b.Connections {
		cells := map[system][]cell{}
		for round := range b.Rounds {
			for _, s := range k.systems {
				o := load.Options{Connections: n, PerConnection: k.perConnection, Span: load.Span{Warm: b.Warm, For: b.window(standardWindow)}}
				c, err := b.cell(ctx, s, k, o)
				if err != nil {
					return "", fmt.Errorf("%s at %d connections: %w", s, n, err)
				}
				b.say("%4d connections, round %d, %-32s %8s/s  p99 %s ms  %s",
					n, round+1, s, figures.Count(c.Rate()), figures.Millis(c.Accepted.P99), figures.Bad(c.Report))
				cells[s] = append(cells[s], c)
			}
		}
		for _, s := range k.systems {
			t.Rows = append(t.Rows, row(n, s, cells))
		}
		t.Head = columnsOf(cells)
		b.learn(k, n, cells[ours])
	}
	return fmt.Sprintf("**%s.** %s\n\n%s", b.title(k), b.rounds(), t), nil
}

// title is that of a comparison, with where batches are staged, if there are
// any.
func (b *bench) title(k comparison) string {
	switch {
	case k.sync != broker.SyncAlways:
		return k.title
	case k.files:
		return k.title + ", batches staged on the disk"
	}
	return k.title + ", " + b.staged()
}

// columnsOf are the columns of a comparison; one without (c) has no ratio to it.
func columnsOf(cells map[system][]cell) []string {
	all := []string{
		"connections", "", "requests/s", "p50 ms", "p99 ms", "p99.9 ms",
		"CPU s per 1,000: itself + broker", "load's CPU", "peak MiB: itself, broker", "rate ÷ (a)", "p99 ÷ (a)",
	}
	if len(cells[limitC]) > 0 {
		all = append(all, "rate ÷ (c)")
	}
	return all
}

func (b *bench) rounds() string {
	return fmt.Sprintf("Medians of %d rounds of %v, ratios within a round.", b.Rounds, b.window(standardWindow))
}

// learn keeps the capacity of the gateway for the overload.
func (b *bench) learn(k comparison, connections int, cells []cell) {
	if k.sync == broker.SyncAlways && k.perConnection == 0 && !k.files && connections >= fullLoad {
		b.capacity = median(cells, load.Report.Rate)
	}
}

// row is one line of the table, void when anything was not accepted.
func row(n int, s system, cells map[system][]cell) []string {
	mine := cells[s]
	first := []string{fmt.Sprint(n), string(s)}
	if bad := void(mine); bad != "" {
		return append(first, bad)
	}
	waits := func(pick func(load.Report) time.Duration) string {
		return figures.Millis(time.Duration(median(mine, func(r load.Report) float64 { return float64(pick(r)) })))
	}
	columns := len(columnsOf(cells))
	return append(first,
		figures.Count(median(mine, load.Report.Rate)),
		waits(func(r load.Report) time.Duration { return r.Accepted.P50 }),
		waits(func(r load.Report) time.Duration { return r.Accepted.P99 }),
		waits(func(r load.Report) time.Duration { return r.Accepted.P999 }),
		fmt.Sprintf("%.3f + %.3f", medianOf(mine, func(c cell) float64 { return c.perThousand(c.server) }),
			medianOf(mine, func(c cell) float64 { return c.perThousand(c.broker) })),
		share(s, mine),
		figures.MiB(medianOf(mine, func(c cell) float64 { return float64(c.serverPeak) }))+", "+
			figures.MiB(medianOf(mine, func(c cell) float64 { return float64(c.brokerPeak) })),
		ratio(s, rivalA, cells, load.Report.Rate),
		ratio(s, rivalA, cells, func(r load.Report) float64 { return float64(r.Accepted.P99) }),
		ratio(s, limitC, cells, load.Report.Rate),
	)[:columns]
}

// share is the load's part of the CPU. Limit (c) is its own load.
func share(s system, mine []cell) string {
	if s == limitC {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*medianOf(mine, cell.share))
}

func void(cells []cell) string {
	reports := make([]load.Report, len(cells))
	for i, c := range cells {
		reports[i] = c.Report
	}
	return figures.Bad(reports...)
}

// ratio is the median over the rounds of one system's value beside another's
// in the same round. Only ours is shown beside others.
func ratio(s, other system, cells map[system][]cell, value func(load.Report) float64) string {
	if s != ours || len(cells[other]) == 0 {
		return ""
	}
	if void(cells[other]) != "" {
		return "void"
	}
	var all []float64
	for i, c := range cells[s] {
		if beside := value(cells[other][i].Report); beside > 0 {
			all = append(all, value(c.Report)/beside)
		}
	}
	return fmt.Sprintf("%.2f", figures.Median(all))
}

func median(cells []cell, value func(load.Report) float64) float64 {
	return medianOf(cells, func(c cell) float64 { return value(c.Report) })
}

func medianOf(cells []cell, value func(cell) float64) float64 {
	all := make([]float64, 0, len(cells))
	for _, c := range cells {
		all = append(all, value(c))
	}
	return figures.Median(all)
}
