// Package gatewaytest has what the tests of several packages of the gateway share.
package gatewaytest

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Until polls a condition every 5 ms and fails the test after two minutes.
func Until(t testing.TB, met func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("not reached within two minutes")
		}
	}
}

// VerifyNoLeaks runs a package's tests and fails on goroutines that outlive them.
func VerifyNoLeaks(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp 1.51.0: its clock lives as long as the process (header.go,
		// updateServerDate), and its worker pool ends within ten seconds after its server
		// (workerpool.go, Start). Before these may go, check that Shutdown ends both.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// nats-server 2.15.3 (server/jetstream_batching.go, newBatchStore): an embedded
		// broker that is stopped under load rarely stages one more batch after its shutdown,
		// and leaves the stage's store open. Before these may go, check that it stages none.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*msgBlock).flushLoop"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}
