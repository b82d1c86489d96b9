package testbench

import (
	"testing"

	"go.uber.org/goleak"
)

// Main is a package's TestMain: it runs the tests and fails on goroutines that outlive them.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp 1.78.0: its clock lives as long as the process (header.go,
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
