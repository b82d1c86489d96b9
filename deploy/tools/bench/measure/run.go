package measure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"arauto/deploy/tools/bench/figures"
	"arauto/deploy/tools/bench/fleet"
)

// bench is one run of the benchmark.
type bench struct {
	Options
	*fleet.Fleet
	progress io.Writer
	began    time.Time
	capacity float64 // Requests per second of the gateway at full load, once measured.
}

// syncTry is how long the disk is tried.
const syncTry = 500 * time.Millisecond

// Run measures the parts one after the other, writes their tables to out, and
// into a document if there is to be one. What it is doing goes to progress.
func Run(ctx context.Context, o Options, out, progress io.Writer) (err error) {
	started, err := fleet.Open(ctx, fleet.Options{Dir: o.Dir, Memory: o.Stage, Bin: o.Bin, Self: o.Self})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, started.Close()) }()
	b := &bench{Options: o, Fleet: started, progress: progress, began: time.Now()}
	machine, err := figures.Machine(ctx, b.Fleet.Dir, syncTry)
	if err != nil {
		return err
	}
	parts := []figures.Part{{Name: partMachine, Text: machine}}
	if _, err := fmt.Fprintf(out, "%s\n", machine); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	for _, name := range o.Parts {
		text, err := b.part(ctx, name)
		b.EndAll()
		if err != nil {
			return fmt.Errorf("measure %s: %w", name, err)
		}
		if _, err := fmt.Fprintf(out, "\n%s\n", text); err != nil {
			return fmt.Errorf("write figures: %w", err)
		}
		parts = append(parts, figures.Part{Name: name, Text: text})
	}
	b.say("done")
	if o.Document == "" {
		return nil
	}
	return figures.Write(o.Document, parts, order())
}

// part measures one part and returns its text.
func (b *bench) part(ctx context.Context, name string) (string, error) {
	switch name {
	case partPipeline:
		return b.pipeline(ctx)
	case partOverload:
		return b.overload(ctx)
	case partMemory:
		return b.memory(ctx)
	case partElsewhere:
		return b.elsewhere(ctx)
	}
	return b.compare(ctx, comparisons()[name])
}

// elsewhere measures core on another disk.
func (b *bench) elsewhere(ctx context.Context) (text string, err error) {
	there, err := fleet.Open(ctx, fleet.Options{Dir: b.Options.Elsewhere, Memory: b.Stage, Bin: b.Options.Bin, Self: b.Options.Self})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, there.Close()) }()
	disk, err := figures.Disk(ctx, there.Dir, syncTry)
	if err != nil {
		return "", err
	}
	moved, k := *b, comparisons()[partCore]
	moved.Fleet = there
	k.title += ", on another disk: " + disk
	return moved.compare(ctx, k)
}

// staged says where brokers stage batches, for the title of a part.
func (b *bench) staged() string {
	if b.Fleet.Memory == "" {
		return "batches staged on the disk"
	}
	return "batches staged " + figures.Medium(b.Fleet.Memory)
}

// window is how long is counted, unless the command line says so.
func (b *bench) window(standard time.Duration) time.Duration { return cmp.Or(b.For, standard) }

// say tells what is being done, and since when.
func (b *bench) say(format string, args ...any) {
	// Nobody needs to know that nobody can be told.
	_, _ = fmt.Fprintf(b.progress, "%4.0f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}
