// Package testbench is what the tests of all floors above schemas share: a real NATS
// server with JetStream on disk and the declared topology, which starts in milliseconds,
// so that nothing needs a fake broker; and waiting, clocks, certificates and leak checks.
package testbench

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

// Store is how many bytes a test broker grants JetStream.
const Store = 1 << 30

// HashKey is the key of the subject tokens of all tests.
const HashKey = "a key for tests, 32 bytes long..."

// Bench is a connection to a broker, and what a test writes to its streams and reads
// from them. Its methods end the test if they fail.
type Bench struct {
	T      testing.TB
	Ctx    context.Context // Ends the test's requests and waits.
	JS     jetstream.JetStream
	Tokens subject.Tokens
}

// Broker is a running server with the topology applied, and a bench on it with the
// tokens of HashKey. It ends with the test.
type Broker struct {
	Bench

	Server *server.Server
	URL    string
	NC     *nats.Conn

	options server.Options
}

// NewBench is a bench with the tokens of HashKey, within Context.
func NewBench(t testing.TB, js jetstream.JetStream) Bench {
	t.Helper()
	tokens, err := subject.Keyed(HashKey)
	Must(t, err)
	return Bench{T: t, Ctx: Context(t), JS: js, Tokens: tokens}
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
func (b Bench) Apply(providers ...string) {
	b.T.Helper()
	_, err := topology.Apply(b.Ctx, b.JS, topology.Settings{Replicas: 1, Store: Store, Providers: providers})
	b.Must(err)
}

// StartEmpty runs a broker without streams. It syncs lazily and has no
// monitoring address, unless change says otherwise.
func StartEmpty(t testing.TB, change ...func(*server.Options)) *Broker {
	t.Helper()
	b := &Broker{Bench: NewBench(t, nil), options: server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: Store, NoLog: true, NoSigs: true,
	}}
	b.Restart(change...)
	t.Cleanup(b.Stop)
	t.Cleanup(b.checkStored)
	b.NC, b.JS = Connect(t, b.URL)
	return b
}

// Serve runs a server with the given options until the test ends. prepare sees it
// before it starts.
func Serve(t testing.TB, options *server.Options, prepare ...func(*server.Server)) *server.Server {
	t.Helper()
	s := launch(t, options, prepare...)
	t.Cleanup(func() { stop(s) })
	return s
}

func launch(t testing.TB, options *server.Options, prepare ...func(*server.Server)) *server.Server {
	t.Helper()
	s, err := server.NewServer(options)
	Must(t, err)
	for _, p := range prepare {
		p(s)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("server is not ready after a minute")
	}
	return s
}

func stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// Monitored gives a broker a monitoring address.
func Monitored(o *server.Options) { o.HTTPHost, o.HTTPPort = "127.0.0.1", server.RANDOM_PORT }

// Monitor is the base URL of the monitoring address of a Monitored broker.
func (b *Broker) Monitor() string { return "http://" + b.Server.MonitorAddr().String() }

// Connect opens a connection that ends with the test, with the settings that production
// uses where they matter to behaviour: no reconnect buffer, endless reconnects.
func Connect(t testing.TB, url string, options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{
		nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond),
		nats.Timeout(time.Minute), // A busy machine takes more than the client's two seconds for a hashed password.
	}, options...)...)
	Must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	Must(t, err)
	return nc, js
}

// Connect opens another connection to the broker.
func (b *Broker) Connect() *nats.Conn {
	b.T.Helper()
	nc, _ := Connect(b.T, b.URL)
	return nc
}

// Stop shuts the server down and waits for it, and until NC has noticed: what is asked on a
// connection that still counts as open is lost without an error. The data stays until the test
// ends. Stopping twice is allowed.
func (b *Broker) Stop() {
	stop(b.Server)
	if b.NC != nil {
		Poll(b.Ctx, func() bool { return !b.NC.IsConnected() })
	}
}

// Restart starts the stopped server again on the same ports and data, with
// options changed if change says so.
func (b *Broker) Restart(change ...func(*server.Options)) {
	b.T.Helper()
	for _, c := range change {
		c(&b.options)
	}
	options := b.options
	b.Server = launch(b.T, &options)
	b.URL = b.Server.ClientURL()
	if addr, ok := b.Server.Addr().(*net.TCPAddr); ok {
		b.options.Port = addr.Port
	}
	if addr := b.Server.MonitorAddr(); addr != nil {
		b.options.HTTPPort = addr.Port
	}
}

// Recreate deletes a stream and creates it empty, so that its sequences begin at 1.
func (b Bench) Recreate(name string) {
	b.T.Helper()
	config := b.Stream(name).CachedInfo().Config
	b.Must(b.JS.DeleteStream(b.Ctx, name))
	_, err := b.JS.CreateStream(b.Ctx, config)
	b.Must(err)
}
