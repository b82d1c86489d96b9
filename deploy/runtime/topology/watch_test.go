package topology_test

import (
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
)

// TestMetadataIsDeclaredAsFarAsNATSToolsReadIt changes metadata on the broker: what says
// when an object is unhealthy is drift, what the broker or an operator adds is none.
func TestMetadataIsDeclaredAsFarAsNATSToolsReadIt(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, settings.Providers...)
	ctx := testbench.Context(t)
	change := func(metadata map[string]string) []topology.Drift {
		t.Helper()
		c := topology.Consumers(settings)[0]
		c.Metadata = metadata
		_, err := b.JS.UpdateConsumer(ctx, c.Stream, c.ConsumerConfig)
		testbench.Must(t, err)
		drift, err := topology.Diff(ctx, b.JS, settings)
		testbench.Must(t, err)
		return drift
	}
	with := topology.Consumers(settings)[0].Metadata
	with["team"] = "payments"
	if drift := change(with); len(drift) != 0 {
		t.Errorf("metadata of an operator is drift: %v", drift)
	}
	drift := change(map[string]string{"io.nats.monitor.enabled": "false"})
	const want = `consumer lookup-picpay of NOTIFICATIONS: metadata is {"io.nats.monitor.enabled":"false"}, declared ` +
		`{"io.nats.monitor.enabled":"true","io.nats.monitor.outstanding-ack-critical":"16384","io.nats.monitor.unprocessed-critical":"10000"}`
	if len(drift) != 1 || drift[0].String() != want {
		t.Errorf("drift is %v, want %s", drift, want)
	}
	if _, err := topology.Apply(ctx, b.JS, settings); err != nil {
		t.Fatal(err)
	}
	if drift, err := topology.Diff(ctx, b.JS, settings); err != nil || len(drift) != 0 {
		t.Errorf("after apply: drift %v, error %v", drift, err)
	}
}
