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

	"arauto/deploy/runtime/version"
	"arauto/deploy/tools/local/supervise"
)

func main() {
	if err := run(); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

// run reads the command line and the environment, and supervises until a signal.
func run() error {
	own, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own binary: %w", err)
	}
	o := supervise.Options{Stdout: os.Stdout, Addresses: supervise.DefaultAddresses()}
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	flags.StringVar(&o.Dir, "dir", ".local", "`folder` for data, logs and configuration")
	flags.StringVar(&o.BinDir, "bin", filepath.Dir(own), "`folder` of the binaries")
	flags.StringVar(&o.Addresses.NATS, "nats", o.Addresses.NATS, "`address` of the broker; port 0 is any free one")
	flags.StringVar(&o.Addresses.Gateway, "gateway", o.Addresses.Gateway, "`address` that takes webhooks")
	flags.StringVar(&o.Addresses.Admin, "admin", o.Addresses.Admin, "`address` of readiness and metrics")
	flags.StringVar(&o.Addresses.Simulator, "simulator", o.Addresses.Simulator, "`address` of the provider simulator")
	flags.StringVar(&o.Addresses.Console, "console", o.Addresses.Console, "`address` of the pages for people")
	asked := flags.Bool("version", false, "print what this binary was built from, and exit")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if *asked {
		version.Print(os.Stdout, "local")
		return flag.ErrHelp
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.DemoEvery, err = supervise.ParseDemo(os.Getenv("DEMO")); err != nil {
		return fmt.Errorf("read DEMO: %w", err)
	}
	if o.Roles, err = supervise.ParseRoles(os.Getenv("ROLES")); err != nil {
		return fmt.Errorf("read ROLES: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	abort, kill := context.WithCancel(context.Background())
	defer kill()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		stop()
		<-signals
		kill()
	}()
	o.Abort = abort
	return supervise.Run(ctx, o)
}
