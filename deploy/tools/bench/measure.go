package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"arauto/deploy/tools/bench/load"
	"arauto/deploy/tools/bench/stack"
)

// usualWindow is how long a load is counted: long enough for thousands of
// requests to the slowest rival, short enough for five rounds in ten minutes.
const usualWindow = 4 * time.Second

// bench is one run of the benchmark.
type bench struct {
	options
	*stack.Stack
	progress io.Writer
	began    time.Time
}

// measure runs the parts one after the other and writes their tables to out,
// and to the document. What is being measured goes to progress.
func measure(ctx context.Context, o options, out, progress io.Writer) (err error) {
	s, err := stack.Open(ctx, o.folder, o.stageFolder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	b := &bench{options: o, Stack: s, progress: progress, began: time.Now()}
	figures := map[string]string{}
	for _, part := range append([]string{"machine"}, o.parts...) {
		measure := map[string]func(context.Context) (string, error){
			"machine": b.machine, "rivals": b.rivals, "cluster": b.cluster, "journey": b.journeys, "overload": b.overload, "memory": b.memory,
		}[part]
		if figures[part], err = measure(ctx); err != nil {
			return fmt.Errorf("measure %s: %w", part, err)
		}
		if _, err := fmt.Fprintf(out, "%s\n\n", figures[part]); err != nil {
			return fmt.Errorf("write figures: %w", err)
		}
	}
	if o.write == "" {
		return nil
	}
	return writeFigures(o.write, figures)
}

// say writes what is being measured, with the seconds since the start.
func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, "%4.0f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// titled is a table below its title and what holds for all its figures.
func (b *bench) titled(title string, window time.Duration, rounds int, head []string, rows ...[]string) string {
	return fmt.Sprintf("**%s**; `sync_interval: always`, batches staged in %s; windows of %v; of %d rounds the median (lowest–highest). Measured on %s.\n\n%s",
		title, cmp.Or(b.stageFolder, "the store"), window, rounds, time.Now().UTC().Format(time.DateOnly), table(head, rows))
}

// schedule is that of a closed loop, whose window is the usual one unless the
// command line has another.
func (b *bench) schedule(usual time.Duration) load.Options {
	return load.Options{Warm: b.warm, For: cmp.Or(b.window, usual)}
}

// cpu is the processor time of each process so far; nil is the benchmark
// itself, which is the load.
func cpu(processes []*stack.Process) []time.Duration {
	var all []time.Duration
	for _, p := range processes {
		all = append(all, p.CPU())
	}
	return all
}

// perUnit divides the difference of two readings of cpu by a count, in
// microseconds.
func perUnit(before, after []time.Duration, count int) []float64 {
	var all []float64
	for i := range after {
		all = append(all, float64((after[i]-before[i]).Microseconds())/float64(max(count, 1)))
	}
	return all
}
