package reconcile

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Print writes the ledger as a table, one line per provider and account and
// one for the sum, then the causes of what waits or was given up.
func (l Ledger) Print(w io.Writer) error {
	counts, causes := map[string]map[Category]int{}, map[string]int{}
	const all = "all"
	for _, r := range l.Rows {
		for _, line := range []string{r.Payment.Provider + "/" + r.Payment.Account, all} {
			if counts[line] == nil {
				counts[line] = map[Category]int{}
			}
			counts[line][r.Category]++
		}
		if r.Why != "" {
			causes[string(r.Category)+" ("+r.Why+")"]++
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := []string{"accepted by"}
	for _, c := range Categories() {
		head = append(head, string(c))
	}
	lines := [][]string{append(head, "sum")}
	sum := counts[all]
	delete(counts, all)
	names := slices.Sorted(maps.Keys(counts))
	counts[all] = sum
	for _, name := range append(names, all) {
		line, sum := []string{name}, 0
		for _, c := range Categories() {
			line, sum = append(line, fmt.Sprint(counts[name][c])), sum+counts[name][c]
		}
		lines = append(lines, append(line, fmt.Sprint(sum)))
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(t, strings.Join(line, "\t")+"\t"); err != nil {
			return fmt.Errorf("write ledger: %w", err)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(causes)) {
		if _, err := fmt.Fprintf(w, "%7d  %s\n", causes[name], name); err != nil {
			return fmt.Errorf("write ledger: %w", err)
		}
	}
	return nil
}

// timeline lists what the streams know of a payment, in the order of time.
func (f *file) timeline() []string {
	type entry struct {
		at   time.Time
		text string
	}
	var entries []entry
	add := func(at time.Time, format string, args ...any) {
		entries = append(entries, entry{at, at.UTC().Format("15:04:05.000000 ") + fmt.Sprintf(format, args...)})
	}
	for _, n := range f.Notifications {
		add(n.At, "notification %d, id %s", n.Sequence, n.Record.ID)
	}
	for i, o := range f.Observations {
		add(o.At, "observation %d says %s (%s), cause %s, notification %s, asked %s, covers %d: %s", o.Sequence, o.Record.Status,
			o.Record.ProviderStatus, o.Record.Cause, o.Record.Notification, o.Record.AskedAt.Format("15:04:05.000000"), o.Record.Covers, f.outcomes[i])
	}
	for _, e := range f.Events {
		add(e.At, "event %d, transition %d to %s from observation %d", e.Sequence, e.Record.Transition, e.Record.Status, e.Record.Observation)
	}
	for _, l := range f.Letters {
		add(l.At, "dead letter %d, %s by %s about %s after %d attempts: %s", l.Sequence, l.Record.Class, l.Record.Stage, l.Record.ID, l.Record.Attempts, l.Record.Cause)
	}
	for _, p := range f.Parked {
		add(p.At, "parked %d, cause %s, waits for %s, covers %d, due %s", p.Sequence, p.Record.Cause, p.Record.Reason, p.Record.Covers, p.Record.DueAt.Format(time.RFC3339Nano))
	}
	for _, p := range f.Fired {
		add(p.At, "fired %d and still stored, cause %s, waits for %s, covers %d", p.Sequence, p.Record.Cause, p.Record.Reason, p.Record.Covers)
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return a.at.Compare(b.at) })
	lines := make([]string, len(entries))
	for i, e := range entries {
		lines[i] = e.text
	}
	return lines
}
