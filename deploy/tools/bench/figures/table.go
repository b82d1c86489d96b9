// Package figures turns what was measured into tables, and writes them into
// the document's own part for them.
package figures

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"arauto/deploy/tools/bench/load"
)

// Table is a Markdown table. Its first columns are words, the others numbers.
type Table struct {
	Head  []string
	Words int
	Rows  [][]string
}

// String is the table with its columns aligned, so that it can be read as it
// stands.
func (t Table) String() string {
	widths := make([]int, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 3)
		}
	}
	var b strings.Builder
	write := func(row []string) {
		for i := range t.Head {
			cell := ""
			if i < len(row) {
				cell = row[i]
			}
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < t.Words {
				fmt.Fprintf(&b, "| %s%s ", cell, gap)
			} else {
				fmt.Fprintf(&b, "| %s%s ", gap, cell)
			}
		}
		b.WriteString("|\n")
	}
	write(t.Head)
	for i, width := range widths {
		line := strings.Repeat("-", width)
		if i >= t.Words {
			line = line[1:] + ":"
		}
		fmt.Fprintf(&b, "| %s ", line)
	}
	b.WriteString("|\n")
	for _, row := range t.Rows {
		write(row)
	}
	return b.String()
}

// Median is the middle of the values, the mean of the two middle ones of an
// even number, and 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// Millis shows a duration in milliseconds, with three digits or fewer.
func Millis(d time.Duration) string {
	ms := d.Seconds() * 1000
	switch {
	case ms >= 100:
		return fmt.Sprintf("%.0f", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.2f", ms)
}

// Count shows a number with commas between its thousands.
func Count(n float64) string {
	digits := fmt.Sprintf("%.0f", n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// MiB shows a size, or a dash where the kernel did not tell it.
func MiB(bytes float64) string {
	if bytes <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", bytes/(1<<20))
}

// Bad lists what was not accepted, such as "void: 12 × 503, 1 × timeout", ""
// when everything was.
func Bad(reports ...load.Report) string {
	counts := map[string]uint64{}
	for _, r := range reports {
		for status, n := range r.Statuses {
			counts[fmt.Sprint(status)] += n
		}
		for problem, n := range r.Errors {
			counts[problem] += n
		}
		if r.Late > 0 {
			counts["not sent"] += r.Late
		}
	}
	var all []string
	for what, n := range counts {
		all = append(all, fmt.Sprintf("%d × %s", n, what))
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return "void: " + strings.Join(all, ", ")
}
