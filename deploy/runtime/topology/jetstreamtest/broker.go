// Package jetstreamtest gives tests a real NATS server with JetStream on disk
// and the declared topology. It starts in milliseconds, so nothing needs a
// fake broker.
package jetstreamtest

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/topology"
)

// Store is how many bytes a test broker grants JetStream.
const Store = 1 << 30

// Broker is a running server with the topology applied, and one connection
// to it. It ends with the test.
type Broker struct {
	Server *server.Server
	URL    string
	NC     *nats.Conn
	JS     jetstream.JetStream

	t       testing.TB
	options server.Options
	port    int
}

// Start runs a broker with the consumers of the given providers.
func Start(t testing.TB, providers ...string) *Broker {
	t.Helper()
	b := StartEmpty(t)
	b.Apply(providers...)
	return b
}

// Apply brings the broker to the declared topology, with the consumers of the
// given providers.
func (b *Broker) Apply(providers ...string) {
	b.t.Helper()
	settings := topology.Settings{Replicas: 1, Store: Store, Providers: providers}
	if _, err := topology.Apply(Context(b.t), b.JS, settings); err != nil {
		b.t.Fatalf("apply topology: %v", err)
	}
}

// StartEmpty runs a broker without streams. It syncs lazily and has no
// monitoring address, unless change says otherwise.
func StartEmpty(t testing.TB, change ...func(*server.Options)) *Broker {
	t.Helper()
	b := &Broker{t: t, options: server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: Store,
		NoLog: true, NoSigs: true,
	}}
	for _, c := range change {
		c(&b.options)
	}
	b.run()
	t.Cleanup(b.Stop)
	t.Cleanup(b.checkEvents)
	t.Cleanup(b.checkLetters)
	b.NC = b.Connect()
	var err error
	if b.JS, err = jetstream.New(b.NC); err != nil {
		t.Fatalf("open jetstream: %v", err)
	}
	return b
}

func (b *Broker) run() {
	b.t.Helper()
	options := b.options
	s, err := server.NewServer(&options)
	if err != nil {
		b.t.Fatalf("make server: %v", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		b.t.Fatal("server is not ready after 10 s")
	}
	b.Server, b.URL = s, s.ClientURL()
	if addr, ok := s.Addr().(*net.TCPAddr); ok {
		b.port = addr.Port
	}
	if addr := s.MonitorAddr(); addr != nil {
		b.options.HTTPPort = addr.Port // Kept when it is started again.
	}
}

// Monitored gives a broker a monitoring address.
func Monitored(o *server.Options) { o.HTTPHost, o.HTTPPort = "127.0.0.1", server.RANDOM_PORT }

// Monitor is the base URL of the monitoring address of a Monitored broker.
func (b *Broker) Monitor() string { return "http://" + b.Server.MonitorAddr().String() }

// Connect opens another connection, with the settings that production uses
// where they matter to behaviour: no reconnect buffer, endless reconnects. It
// ends with the test.
func (b *Broker) Connect() *nats.Conn {
	b.t.Helper()
	nc, err := nats.Connect(b.URL,
		nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		b.t.Fatalf("connect: %v", err)
	}
	b.t.Cleanup(nc.Close)
	return nc
}

// Stop shuts the server down and waits for it. The data stays until the test
// ends. Stopping twice is allowed.
func (b *Broker) Stop() {
	b.Server.Shutdown()
	b.Server.WaitForShutdown()
}

// Restart starts the stopped server again on the same ports and data, with
// options changed if change says so.
func (b *Broker) Restart(change ...func(*server.Options)) {
	b.t.Helper()
	b.options.Port = b.port
	for _, c := range change {
		c(&b.options)
	}
	b.run()
}

// Recreate deletes a stream and creates it anew, so that its numbers begin again.
func (b *Broker) Recreate(name string) {
	b.t.Helper()
	ctx := Context(b.t)
	stream, err := b.JS.Stream(ctx, name)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.JS.DeleteStream(ctx, name); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.JS.CreateStream(ctx, stream.CachedInfo().Config); err != nil {
		b.t.Fatal(err)
	}
}

// Context is a context that ends with the test, or after three minutes: a
// busy machine needs long, and a test that hangs still says where.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
