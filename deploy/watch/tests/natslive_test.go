package watch_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/jsm.go/monitor"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
)

// What deploy/OPERATING.md gives to `nats server check consumer`.
const unprocessed, outstanding = 10_000, 16_384

// single is the topology on one server.
var single = topology.Settings{Replicas: 1, Store: 8 << 30, Providers: []string{"picpay"}}

// shippedBroker runs a server with deploy/nats.conf and the declared streams and consumers.
// Unlike the shipped one it syncs lazily, because these tests store thousands of messages.
func shippedBroker(t *testing.T) (url string) {
	t.Helper()
	conf, env, err := processtest.Shipped(filepath.Join(root, "deploy/nats.conf"), t.TempDir(), "127.0.0.1:-1", "", t.TempDir())
	testbench.Must(t, err)
	text, err := os.ReadFile(conf)
	testbench.Must(t, err)
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		text = []byte(strings.ReplaceAll(string(text), "$"+name, value))
	}
	testbench.Must(t, os.WriteFile(conf, text, 0o600))
	options, err := server.ProcessConfigFile(conf)
	testbench.Must(t, err)
	options.SyncAlways, options.NoLog, options.NoSigs = false, true, true
	url = testbench.Serve(t, options).ClientURL()
	_, js := testbench.Connect(t, url, nats.UserInfo("test", "test"))
	_, err = topology.Apply(testbench.Context(t), js, single)
	testbench.Must(t, err)
	return url
}

// checkConsumer is `nats server check consumer` with the thresholds of the consumer's own metadata.
func checkConsumer(t *testing.T, m *jsm.Manager, stream, consumer string) *monitor.Result {
	t.Helper()
	c, err := m.LoadConsumer(stream, consumer)
	testbench.Must(t, err)
	check, err := monitor.ExtractConsumerHealthCheckOptions(c.Metadata())
	testbench.Must(t, err)
	if !check.Enabled || check.UnprocessedCritical != unprocessed || check.AckOutstandingCritical != outstanding {
		t.Fatalf("%s has the metadata %v, which is not what the documents give to the check", consumer, c.Metadata())
	}
	check.StreamName, check.ConsumerName = stream, consumer
	result := &monitor.Result{}
	testbench.Must(t, monitor.CheckConsumerHealthWithConnection(m, result, *check, api.NewDiscardLogger()))
	return result
}

// TestNATSToolsCheckLiveConsumersAsTheUserMonitor has a consumer get over each of its bounds, and
// checks every consumer and stream with the rights of the user monitor alone.
func TestNATSToolsCheckLiveConsumersAsTheUserMonitor(t *testing.T) {
	t.Parallel()
	url := shippedBroker(t)
	nc, _ := testbench.Connect(t, url, nats.UserInfo("monitor", "monitorpw"), nats.CustomInboxPrefix("_INBOX_monitor"))
	m, err := jsm.New(nc)
	testbench.Must(t, err)
	all := topology.Consumers(single)
	critical := func(when, consumer, want string) {
		t.Helper()
		for _, c := range all {
			result := checkConsumer(t, m, c.Stream, c.Durable)
			got := strings.Join(result.Criticals, ", ")
			if c.Durable == consumer && got != want || c.Durable != consumer && got != "" {
				t.Errorf("%s %s is critical for %q, and %s should be for %q", when, c.Durable, got, consumer, want)
			}
			if len(result.OKs)+len(result.Criticals) != 2 {
				t.Errorf("%s %s is checked for %q and %q", when, c.Durable, result.OKs, result.Criticals)
			}
		}
	}
	critical("before any message", "", "")

	ctx := testbench.Context(t)
	_, js := testbench.Connect(t, url, nats.UserInfo("test", "test"))
	store := func(messages int) {
		for range messages {
			_, err := js.PublishAsync("statuses.picpay.default.p", nil)
			testbench.Must(t, err)
		}
		testbench.Receive(t, "the last ack", js.PublishAsyncComplete())
	}
	normalize, err := js.Consumer(ctx, "STATUSES", "normalize")
	testbench.Must(t, err)
	deliver := func(messages int) {
		batch, err := normalize.Fetch(messages)
		testbench.Must(t, err)
		for range batch.Messages() {
		}
		testbench.Must(t, batch.Error())
	}
	store(unprocessed)
	critical("with a full lag", "normalize", "Unprocessed Messages: 10000")
	deliver(1)
	critical("with one message less", "", "")
	store(outstanding - unprocessed)
	deliver(outstanding - 1)
	critical("with all in work", "normalize", "Ack Pending: 16384")

	for _, s := range topology.Streams(single) {
		stream, err := m.LoadStream(s.Name)
		testbench.Must(t, err)
		check, err := monitor.ExtractStreamHealthCheckOptions(stream.Metadata())
		testbench.Must(t, err)
		check.StreamName = s.Name
		result := &monitor.Result{}
		testbench.Must(t, monitor.CheckStreamHealthWithConnection(m, result, *check, api.NewDiscardLogger()))
		if len(result.Criticals) > 0 || nc.LastError() != nil {
			t.Errorf("%s is critical for %q, and the broker refused %v", s.Name, result.Criticals, nc.LastError())
		}
	}
}
