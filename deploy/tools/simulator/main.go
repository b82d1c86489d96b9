// Command simulator serves every provider's look-up API on one address, sends
// their webhooks to the gateway, and obeys the control calls under /_sim/. It
// is for demos and tests; its credentials are public.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/process"
	"arauto/deploy/runtime/version"
	"arauto/deploy/tools/simulator/api"
)

// goodbye is how long requests under way get when the simulator stops.
const goodbye = 2 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, leave := process.Parent(ctx)
	err := start(ctx, os.Args[1:])
	leave()
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulator:", err)
		os.Exit(1)
	}
}

// start reads the command line, opens the address and serves until ctx ends.
func start(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8090", "`address` to serve on")
	gateway := flags.String("gateway", "http://127.0.0.1:8080", "`URL` of the gateway that webhooks go to")
	state := flags.String("state", "", "`file` that keeps the payments between runs; empty keeps them in memory")
	asked := flags.Bool("version", false, "print what this binary was built from, and exit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *asked {
		version.Print(os.Stdout, "simulator")
		return flag.ErrHelp
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	log, err := zap.NewProduction()
	if err != nil {
		return fmt.Errorf("make logger: %w", err)
	}
	defer func() { _ = log.Sync() }() // Syncing a terminal fails on some systems, which loses nothing.
	listener, err := process.Listen("simulator", *listen)
	if err != nil {
		return err
	}
	return serve(ctx, listener, api.Options{GatewayURL: *gateway, StateFile: *state, Log: log})
}

// serve answers on the listener until ctx ends, then stops in order: what
// waits inside the simulator first, or the server would wait for it.
func serve(ctx context.Context, listener net.Listener, o api.Options) error {
	sim, err := api.New(o)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	// No read or write timeout: they would cut a slow answer short.
	server := &http.Server{Handler: sim.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	o.Log.Info("simulator.started", zap.Stringer("address", listener.Addr()))
	select {
	case err := <-failed:
		return errors.Join(fmt.Errorf("serve: %w", err), sim.Close())
	case <-ctx.Done():
	}
	closing := sim.Close()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	ended := server.Shutdown(last)
	if errors.Is(ended, context.DeadlineExceeded) {
		ended = nil // Close cuts what is left: a connection, say, on which no request has come yet.
	}
	err = errors.Join(closing, ended, server.Close())
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
