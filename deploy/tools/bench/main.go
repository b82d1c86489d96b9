// Command bench measures the hot path and the pipeline against honest
// rivals, prints one table for each, and can write them into deploy/FIGURES.md. It
// starts the real binaries and itself, under subcommands, as processes of
// their own.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"arauto/deploy/runtime/process"
	"arauto/deploy/tools/bench/broker"
	"arauto/deploy/tools/bench/fleet"
	"arauto/deploy/tools/bench/journey"
	"arauto/deploy/tools/bench/limit"
	"arauto/deploy/tools/bench/load"
	"arauto/deploy/tools/bench/measure"
	"arauto/deploy/tools/bench/rival"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, leave := process.Parent(ctx)
	err := run(ctx, os.Args[1:])
	leave()
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parts are the subcommands, for the benchmark itself only. Each reads its
// flags and runs.
var parts = map[string]func(ctx context.Context, args []string) error{
	"broker":  runBroker,
	"rival":   runRival,
	"limit":   runLimit,
	"load":    runLoad,
	"journey": runJourney,
	"janitor": func(ctx context.Context, args []string) error { return fleet.Janitor(ctx, args...) },
}

// run measures, or is one of the parts.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 && parts[args[0]] != nil {
		return parts[args[0]](ctx, args[1:])
	}
	o, err := measure.ParseOptions(args, os.Stderr)
	if err != nil {
		return err
	}
	return measure.Run(ctx, o, os.Stdout, os.Stderr)
}

func runBroker(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("broker", flag.ContinueOnError)
	var o broker.Options
	flags.StringVar(&o.Dir, "dir", "", "`folder` of the store")
	flags.StringVar(&o.Stage, "stage", "", "`folder` where batches are staged; in the store if empty")
	flags.StringVar(&o.Sync, "sync", broker.SyncAlways, "sync policy")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return broker.Serve(ctx, o, fleet.SayBroker)
}

func runRival(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("rival", flag.ContinueOnError)
	name := flags.String("name", rival.FiberPublish, "which `one`")
	url := flags.String("broker", "", "`URL` of the broker")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return rival.Serve(ctx, *name, *url, fleet.Say)
}

// loadFlags are those of everything that sends.
func loadFlags(flags *flag.FlagSet) *load.Options {
	o := &load.Options{}
	flags.IntVar(&o.Connections, "connections", 1, "how many connections")
	flags.DurationVar(&o.Span.Warm, "warm", 0, "how long not to count")
	flags.DurationVar(&o.Span.For, "for", 0, "how long to count")
	flags.IntVar(&o.PerConnection, "per-connection", 0, "requests per connection, 0 for any number")
	flags.Float64Var(&o.Rate, "rate", 0, "requests per second of an open loop")
	flags.DurationVar(&o.Lag, "lag", 0, "how late a request may be sent")
	flags.StringVar(&o.Accepted, "accepted", "", "`file` for the accepted payments")
	flags.Func("group", "the payments' group", func(text string) error {
		_, err := fmt.Sscan(text, &o.Group)
		return err
	})
	return o
}

func runLimit(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("limit", flag.ContinueOnError)
	o := loadFlags(flags)
	url := flags.String("broker", "", "`URL` of the broker")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := limit.Run(ctx, os.Stdout, *url, o.Connections, o.Span)
	return tell(r, err)
}

func runLoad(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	o := loadFlags(flags)
	flags.StringVar(&o.Address, "address", "", "`host:port` to send to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := load.Run(ctx, os.Stdout, *o)
	return tell(r, err)
}

func runJourney(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("journey", flag.ContinueOnError)
	send := loadFlags(flags)
	var o journey.Options
	flags.StringVar(&o.Broker, "broker", "", "`URL` of the broker")
	flags.StringVar(&o.Gateway, "gateway", "", "`host:port` of the gateway")
	flags.StringVar(&o.Simulator, "simulator", "", "`host:port` of the simulator")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.Load = *send
	r, err := journey.Run(ctx, os.Stdout, o)
	return tell(r, err)
}

// tell writes a report on stdout, as the benchmark reads it.
func tell(report any, err error) error {
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}
