package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"arauto/deploy/tools/bench/load"
)

// table is a Markdown table with aligned columns. Short rows are filled.
func table(head []string, rows [][]string) string {
	line := slices.Repeat([]string{"---"}, len(head))
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, row := range slices.Concat([][]string{head, line}, rows) {
		row = append(slices.Clone(row), make([]string, len(head)-len(row))...)
		_, _ = fmt.Fprintf(w, "| %s\t|\n", strings.Join(row, "\t| "))
	}
	_ = w.Flush() // A strings.Builder does not fail.
	return b.String()
}

// each is one value per round.
func each[T any](rounds []T, value func(T) float64) []float64 {
	var all []float64
	for _, r := range rounds {
		all = append(all, value(r))
	}
	return all
}

// median is the middle value, or the mean of the two middle ones.
func median(values []float64) float64 {
	all := slices.Sorted(slices.Values(values))
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// spread is the median and, of several values, the lowest and the highest:
// "1.50 (1.31–1.72)".
func spread(values []float64) string {
	middle := number(median(values))
	if len(values) == 1 {
		return middle
	}
	return fmt.Sprintf("%s (%s–%s)", middle, number(slices.Min(values)), number(slices.Max(values)))
}

// joined are the texts of the rounds that have one.
func joined[T any](rounds []T, text func(T) string) string {
	var all []string
	for _, r := range rounds {
		if t := text(r); t != "" {
			all = append(all, t)
		}
	}
	return strings.Join(all, "; ")
}

// number writes at least three digits.
func number(v float64) string {
	decimals := 2
	for rest := v; rest >= 10 && decimals > 0; rest /= 10 {
		decimals--
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// opening and closing are the lines around the figures of a part.
func opening(part string) string { return "<!-- figures of " + part + ", written by make bench -->\n" }
func closing(part string) string { return "<!-- end of " + part + " -->\n" }

// writeFigures replaces the figures of the given parts in a file, and leaves
// everything else. It changes nothing if a marker is not there once.
func writeFigures(name string, parts map[string]string) error {
	old, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read figures: %w", err)
	}
	text := string(old)
	for part, figures := range parts {
		before, rest, _ := strings.Cut(text, opening(part))
		_, after, closed := strings.Cut(rest, closing(part))
		if !closed || strings.Count(text, opening(part)) != 1 || strings.Count(text, closing(part)) != 1 {
			return fmt.Errorf("write figures: %s must have one line %q and later one line %q", filepath.Base(name), opening(part), closing(part))
		}
		text = before + opening(part) + strings.TrimSpace(figures) + "\n" + closing(part) + after
	}
	// Renaming a new file over the old one leaves a whole file at every moment.
	if err := os.WriteFile(name+".new", []byte(text), 0o644); err != nil { //nolint:gosec // A document is for everyone.
		return fmt.Errorf("write figures: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return nil
}

// appended is about the size of one stored notification, in bytes.
const appended = 600

// machine describes what the figures are measured on.
func (b *bench) machine(ctx context.Context) (string, error) {
	disk, err := fsync(ctx, filepath.Join(b.Dir, "fsync"))
	if err != nil {
		return "", fmt.Errorf("measure disk: %w", err)
	}
	info, _ := os.ReadFile("/proc/cpuinfo") // Only Linux has these files.
	_, model, _ := strings.Cut(string(info), "model name\t: ")
	model, _, _ = strings.Cut(model, "\n")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("CPU: %s, %d cores. System: %s %s %s, %s. Disk: append %d B and fsync p50 %s ms, p99 %s ms. Measured on %s. "+
		"Load, gateway and broker share the machine: read ratios, not rates.",
		model, runtime.NumCPU(), runtime.GOOS, strings.TrimSpace(string(kernel)), runtime.GOARCH, runtime.Version(),
		appended, number(disk.Millis(50)), number(disk.Millis(99)), time.Now().UTC().Format(time.DateOnly)), nil
}

// fsync measures for half a second how long appending and syncing takes.
func fsync(ctx context.Context, name string) (load.Latency, error) {
	took := load.NewLatency()
	file, err := os.Create(name)
	for began := time.Now(); err == nil && time.Since(began) < 500*time.Millisecond; {
		start := time.Now()
		_, wrong := file.Write(make([]byte, appended))
		err = errors.Join(wrong, file.Sync(), ctx.Err())
		took.Add(time.Since(start))
	}
	return took, errors.Join(err, file.Close())
}
