// Command local runs all of Arauto on one machine for development: a NATS
// server, the provider simulator and the real binaries that lie beside it.
// The Makefile's run target builds everything and starts it.
//
// Environment: DEMO=off plays no demo traffic (or a pause such as 200ms
// between two steps of it); ROLES=gateway,lookup starts only those beside the
// broker. The first SIGINT or SIGTERM stops everything in order, a second one
// kills what is left.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"arauto/deploy/tools/local/supervise"
)

func main() {
	options, err := read(os.Args[1:], os.Getenv)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(2)
	}
	if err := run(options); err != nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

// read makes options of the command line and the environment.
func read(args []string, env func(string) string) (supervise.Options, error) {
	o := supervise.Options{Stdout: os.Stdout, Addresses: supervise.DefaultAddresses()}
	own, err := os.Executable()
	if err != nil {
		return o, fmt.Errorf("find own binary: %w", err)
	}
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	flags.StringVar(&o.Dir, "dir", ".local", "`folder` for data, logs and configuration")
	flags.StringVar(&o.BinDir, "bin", filepath.Dir(own), "`folder` of the binaries")
	flags.StringVar(&o.Addresses.NATS, "nats", o.Addresses.NATS, "`address` of the broker; port 0 is any free one")
	flags.StringVar(&o.Addresses.Gateway, "gateway", o.Addresses.Gateway, "`address` that takes webhooks")
	flags.StringVar(&o.Addresses.Admin, "admin", o.Addresses.Admin, "`address` of readiness and metrics")
	flags.StringVar(&o.Addresses.Simulator, "simulator", o.Addresses.Simulator, "`address` of the provider simulator")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.DemoEvery, err = supervise.ParseDemo(env("DEMO")); err != nil {
		return o, fmt.Errorf("read DEMO: %w", err)
	}
	if o.Roles, err = supervise.ParseRoles(env("ROLES")); err != nil {
		return o, fmt.Errorf("read ROLES: %w", err)
	}
	return o, nil
}

// run supervises until the first signal; a second one aborts the stop.
func run(o supervise.Options) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	abort := make(chan struct{})
	go func() {
		<-signals
		cancel()
		<-signals
		close(abort)
	}()
	o.Abort = abort
	return supervise.Run(ctx, o)
}
