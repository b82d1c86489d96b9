// Package measure is the benchmark: which processes are started for each
// part, what is read from them, and what the tables say.
package measure

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"arauto/deploy/tools/bench/figures"
)

// Parts lists the parts in the order of the figures, but for the one that
// needs a folder of its own.
func Parts() []string {
	return slices.DeleteFunc(order(), func(part string) bool { return part == partMachine || part == partElsewhere })
}

// order is that of all parts of the figures.
func order() []string {
	return []string{
		partMachine, partCore, partFiles, partElsewhere, partLazy, partClose, partPipeline, partOverload, partMemory,
	}
}

// The parts.
const (
	partMachine   = "machine"
	partCore      = "core"      // The hot path on a broker that syncs always.
	partFiles     = "files"     // The same with batches staged on the disk.
	partElsewhere = "elsewhere" // The same as core on another disk.
	partLazy      = "lazy"      // The same on one that syncs by default.
	partClose     = "close"     // The same as core with a new connection for each request.
	partPipeline  = "pipeline"  // From webhook to order event.
	partOverload  = "overload"  // Three times as much as it can take.
	partMemory    = "memory"    // The gateway's memory over time.
)

// Options are the command line.
type Options struct {
	Parts       []string
	Rounds      int
	For         time.Duration // Counted per cell; 0 is each part's own.
	Warm        time.Duration // Not counted before it.
	Connections []int         // Of core, files, lazy and close.
	Crowd       int           // Connections of overload.
	Rates       []float64     // Webhooks per second of pipeline,
	Steps       int           // and at most so many higher ones after the last.
	Workers     []int         // Of each worker role in pipeline.
	Settle      time.Duration // How long the gateway may take until it has no goroutine left of a load.
	Document    string        // "" writes nowhere.
	Dir         string        // Where the stores lie.
	Stage       string        // Where brokers stage batches; "" for in their stores.
	Elsewhere   string        // Where those of elsewhere lie; without it there is no such part.
	Bin         string        // Where the binaries are.
	Self        string        // The benchmark's own binary.
}

// ParseOptions reads the command line. It is flag.ErrHelp when help was asked
// for, which went to out.
func ParseOptions(args []string, out io.Writer) (Options, error) {
	var o Options
	self, err := os.Executable()
	if err != nil {
		return o, fmt.Errorf("find own binary: %w", err)
	}
	o.Self, o.Connections, o.Rates, o.Workers = self, []int{8, 64, 256, 512}, []float64{100, 1000}, []int{1, 2}
	o.Parts = []string{partCore, partPipeline, partOverload, partMemory}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.IntVar(&o.Rounds, "rounds", 3, "how `often` each cell is measured, but for those of overload and memory")
	flags.DurationVar(&o.For, "for", 0, "how `long` is counted per cell; 0 is 4s, and 20s for memory")
	flags.DurationVar(&o.Warm, "warm", 700*time.Millisecond, "how `long` is not counted before")
	flags.Func("connections", "`numbers` of connections of core, files, lazy and close (default 8,64,256,512)", func(text string) (err error) {
		o.Connections, err = numbers(text)
		return err
	})
	flags.Func("workers", "`numbers` of lookup and of normalize in pipeline (default 1,2)", func(text string) (err error) {
		o.Workers, err = numbers(text)
		return err
	})
	flags.Func("rates", "webhooks per second in pipeline, the last is where steps begin (default 100,1000)", func(text string) error {
		rates, err := numbers(text)
		o.Rates = nil
		for _, n := range rates {
			o.Rates = append(o.Rates, float64(n))
		}
		return err
	})
	flags.IntVar(&o.Steps, "steps", 16, "at most so `many` higher rates in pipeline")
	flags.DurationVar(&o.Settle, "settle", 25*time.Second, "how `long` goroutines may take to end after the load in memory")
	flags.IntVar(&o.Crowd, "crowd", 6000, "`connections` of overload")
	flags.Func("only", "`parts`, of "+strings.Join(Parts(), ", ")+" (default core,pipeline,overload,memory)", func(text string) error {
		o.Parts = strings.Split(text, ",")
		return nil
	})
	flags.BoolFunc("all", "all parts", func(string) error { o.Parts = Parts(); return nil })
	flags.StringVar(&o.Document, "write", "", "`file` whose figures are written; none if empty")
	flags.StringVar(&o.Dir, "dir", ".local", "`folder` for the stores; its disk is measured")
	flags.StringVar(&o.Stage, "stage", figures.Memory(), "`folder` in memory where brokers stage batches; in their stores if empty")
	flags.StringVar(&o.Elsewhere, "elsewhere", "", "`folder` on another disk, for the part elsewhere: core once more there")
	flags.StringVar(&o.Bin, "bin", filepath.Dir(self), "`folder` of the binaries")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.Elsewhere != "" && !slices.Contains(o.Parts, partElsewhere) {
		o.Parts = append(o.Parts, partElsewhere)
	}
	if o.Stage == "" { // Then core is what files would be.
		o.Parts = slices.DeleteFunc(slices.Clone(o.Parts), func(part string) bool { return part == partFiles })
	}
	return o, o.check()
}

func (o Options) check() error {
	if len(o.Parts) == 0 {
		return errors.New("without memory, files is the same as core; name a folder in memory with -stage")
	}
	for _, part := range o.Parts {
		if part == partElsewhere && o.Elsewhere == "" {
			return errors.New("elsewhere needs a folder; name it with -elsewhere")
		}
		if part != partElsewhere && !slices.Contains(Parts(), part) {
			return fmt.Errorf("no part is called %q; there are %s", part, strings.Join(Parts(), ", "))
		}
	}
	if o.Rounds < 1 || o.For < 0 || o.Warm < 0 || o.Settle < 0 || o.Crowd < 1 || o.Steps < 0 {
		return errors.New("rounds and connections must be positive, times not negative")
	}
	return nil
}

func numbers(text string) ([]int, error) {
	var all []int
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a positive number", word)
		}
		all = append(all, n)
	}
	return all, nil
}
