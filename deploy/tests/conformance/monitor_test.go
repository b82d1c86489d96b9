package conformance_test

import (
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/providers"
)

// monitor asks what `nats stream ls`, `stream report`, `consumer report` and `server check`
// ask, which were run by hand with version 0.5.1.
func (f *flow) monitor(b *broker) {
	f.T.Helper()
	_, js := b.as("monitor")
	_, err := js.AccountInfo(f.Ctx)
	f.Must(err)
	names := js.StreamNames(f.Ctx)
	for range names.Name() {
	}
	f.Must(names.Err())
	list := js.ListStreams(f.Ctx)
	for info := range list.Info() {
		s, err := js.Stream(f.Ctx, info.Config.Name)
		f.Must(err)
		consumers := s.ListConsumers(f.Ctx)
		for c := range consumers.Info() {
			_, err := js.Consumer(f.Ctx, info.Config.Name, c.Name)
			f.Must(err)
		}
		f.Must(consumers.Err())
		names := s.ConsumerNames(f.Ctx)
		for range names.Name() {
		}
		f.Must(names.Err())
	}
	f.Must(list.Err())
}

// TestEveryStreamAndConsumerExplainsItself is about what NATS' own tools show and check.
func TestEveryStreamAndConsumerExplainsItself(t *testing.T) {
	t.Parallel()
	b := start(t)
	ctx := testbench.Context(t)
	settings := topology.Settings{Replicas: 1, Store: 8 << 30, Providers: providers.All.Names()}
	_, admin := b.as("topology")
	_, err := topology.Apply(ctx, admin, settings)
	testbench.Must(t, err)
	_, js := b.as("monitor")
	for _, want := range topology.Streams(settings) {
		s, err := js.Stream(ctx, want.Name)
		testbench.Must(t, err)
		if have := s.CachedInfo().Config; have.Description == "" || have.Metadata["io.nats.monitor.enabled"] != "true" {
			t.Errorf("stream %s has the description %q and the metadata %v", want.Name, have.Description, have.Metadata)
		}
	}
	for _, want := range topology.Consumers(settings) {
		c, err := js.Consumer(ctx, want.Stream, want.Durable)
		testbench.Must(t, err)
		have := c.CachedInfo().Config
		if !strings.HasSuffix(have.Description, ".") || have.Metadata["io.nats.monitor.outstanding-ack-critical"] != "16384" {
			t.Errorf("consumer %s has the description %q and the metadata %v", want.Durable, have.Description, have.Metadata)
		}
	}
}
