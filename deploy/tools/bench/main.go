// Command bench measures the gateway beside rivals, three servers, the way from
// webhook to order event, overload and memory, prints a table of each, and can write them
// into deploy/FIGURES.md. It starts the real binaries, and itself under
// subcommands, as processes of their own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"arauto/deploy/runtime/process"
	"arauto/deploy/runtime/version"
	"arauto/deploy/tools/bench/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, leave := process.Parent(ctx)
	err := run(ctx, os.Args[1:])
	leave()
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures, or is one of the processes that the benchmark starts.
func run(ctx context.Context, args []string) error {
	switch first := append(args, "")[0]; {
	case first == "broker" && len(args) > 1:
		return serveBroker(ctx, args[1:], announce)
	case first == "brokers" && len(args) > 1:
		return serveCluster(ctx, args[1:], announce)
	case first == "rival" && len(args) == 3 && rivals[args[1]] != nil:
		return serveRival(ctx, args[1], args[2], announce)
	case first == "janitor":
		return stack.Janitor(ctx, args[1:]...)
	}
	o, err := parse(args, os.Stderr)
	if err != nil {
		return err
	}
	return measure(ctx, o, os.Stdout, os.Stderr)
}

// announce writes the line by which the benchmark learns where a process
// listens.
func announce(addresses ...any) error {
	if _, err := fmt.Fprintln(os.Stdout, addresses...); err != nil {
		return fmt.Errorf("announce address: %w", err)
	}
	return nil
}

// parts are measured in this order.
var parts = []string{"rivals", "cluster", "journey", "overload", "memory"}

// options are the command line, see parse.
type options struct {
	parts               []string
	rounds, crowd       int
	window, warm        time.Duration // A window of 0 is each part's own.
	connections, rates  []int
	against, write      string
	folder, stageFolder string
}

// parse reads the command line. Its error is flag.ErrHelp after -help, whose
// text goes to out.
func parse(args []string, out io.Writer) (options, error) {
	o := options{parts: parts, connections: []int{8, 64, 256, 512}, rates: []int{100, 400}}
	memory := "/dev/shm" // Linux's files in memory.
	if _, err := os.Stat(memory); err != nil {
		memory = ""
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Func("only", "`parts`, of "+strings.Join(parts, ", ")+" (default all)", func(text string) error {
		o.parts = strings.Split(text, ",")
		return nil
	})
	flags.IntVar(&o.rounds, "rounds", 5, "how `often` every part but memory measures")
	flags.DurationVar(&o.window, "for", 0, "how `long` a load is counted; 0 is 4s, and 20s for memory")
	flags.DurationVar(&o.warm, "warm", 700*time.Millisecond, "how `long` it is not counted before")
	flags.Func("connections", "`numbers` of connections of rivals and cluster (default 8,64,256,512)", numbers(&o.connections))
	flags.Func("rates", "webhooks per second of journey (default 100,400)", numbers(&o.rates))
	flags.IntVar(&o.crowd, "crowd", 6000, "`connections` of overload")
	flags.StringVar(&o.against, "against", "", "absolute path of another build's gateway `binary`, which rivals measures too")
	flags.StringVar(&o.write, "write", "", "`file` that the tables are written to; none if empty")
	flags.StringVar(&o.folder, "dir", ".local", "`folder` for the stores; its disk is measured")
	flags.StringVar(&o.stageFolder, "stage", memory, "`folder` where brokers stage batches; in their stores if empty")
	asked := flags.Bool("version", false, "print what this binary was built from, and exit")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *asked {
		version.Print(os.Stdout, "bench")
		return o, flag.ErrHelp
	}
	for _, part := range o.parts {
		if !slices.Contains(parts, part) {
			return o, fmt.Errorf("no part is called %q; there are %s", part, strings.Join(parts, ", "))
		}
	}
	if flags.NArg() > 0 || o.rounds < 1 || o.crowd < 1 || o.window < 0 || o.warm < 0 {
		return o, errors.New("rounds and crowd must be positive and times not negative, and there are no arguments but flags")
	}
	return o, nil
}

// numbers reads positive numbers with commas between them.
func numbers(into *[]int) func(string) error {
	return func(text string) error {
		*into = nil
		for word := range strings.SplitSeq(text, ",") {
			n, err := strconv.ParseUint(word, 10, 16)
			if err != nil || n == 0 {
				return fmt.Errorf("%q is not a number from 1 to 65535", word)
			}
			*into = append(*into, int(n))
		}
		return nil
	}
}
