package commit

import (
	"testing"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/testbench"
)

// A tick may wait for the lock while the last message gets its result.
func TestLateTickLeavesNoTimerBehind(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(testbench.StartEmpty(t).URL, nats.ReconnectBufSize(-1))
	testbench.Must(t, err)
	t.Cleanup(nc.Close)
	c, err := New(nc, Options{Stream: "S"})
	testbench.Must(t, err)
	c.tick()
	if c.ticker.Stop() {
		t.Error("it ticks without a message")
	}
}
