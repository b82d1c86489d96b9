// Command arauto is the operator's tool: it shows how a deployment is and what
// happened to one payment, acts on dead letters, parked look-ups and circuits,
// asks providers again, and brings a broker to the declared topology.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"arauto/workers/operator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := operator.Run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
