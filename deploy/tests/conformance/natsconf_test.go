package conformance_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// routePassword is set for the cluster's configuration by TestMain.
const routePassword = "p5e17route"

func TestConfirmedWritesAreOnDisk(t *testing.T) {
	t.Parallel()
	options, err := server.ProcessConfigFile(natsConf)
	testbench.Must(t, err)
	if !options.JetStream || !options.SyncAlways {
		t.Errorf("jetstream is %v, sync always %v", options.JetStream, options.SyncAlways)
	}
	if options.StoreDir != "/data" {
		t.Errorf("streams are stored in %q, the volume is mounted on /data", options.StoreDir)
	}
	if !strings.HasPrefix(options.HTTPHost, "127.") {
		t.Errorf("the monitoring port is open on %q", options.HTTPHost)
	}
}

// TestComposeShowsThePolicyToTheGatewayOnly is about the monitoring address,
// which has no credentials: other containers may ask it, the host may not.
func TestComposeShowsThePolicyToTheGatewayOnly(t *testing.T) {
	t.Parallel()
	options, err := server.ProcessConfigFile(filepath.Join("..", "..", "nats-compose.conf"))
	testbench.Must(t, err)
	if options.HTTPHost != "0.0.0.0" || options.HTTPPort != 8222 || !options.SyncAlways || len(options.Users) == 0 {
		t.Errorf("the monitoring address is %s:%d, sync always %v, %d users", options.HTTPHost, options.HTTPPort, options.SyncAlways, len(options.Users))
	}
	nats := composeFile(t).Services["nats"]
	if !slices.Contains(nats.Command, "/etc/nats/nats-compose.conf") || len(nats.Ports) != 0 {
		t.Errorf("nats runs %v with the host ports %v", nats.Command, nats.Ports)
	}
}

// TestComposeStagesBatchesInMemory starts the broker as the container engine
// leaves it, with the folder of the mount already there, and looks where it
// stages a batch of the gateway.
func TestComposeStagesBatchesInMemory(t *testing.T) {
	t.Parallel()
	store := t.TempDir()
	makeFolders(t, store)
	stages := map[string]string{} // By stream.
	for _, mount := range composeFile(t).Services["nats"].Tmpfs {
		path, options, _ := strings.Cut(mount, ":")
		if !strings.HasSuffix(options, ",mode=0700,uid=65532,gid=65532") {
			t.Errorf("the mount belongs to another user than the broker's: %s", options)
		}
		inside, ok := strings.CutPrefix(path, "/data/")
		if !ok {
			t.Fatalf("%s is not in the store", path)
		}
		stage := filepath.Join(store, filepath.FromSlash(inside))
		if found, err := os.Stat(stage); err != nil || !found.IsDir() {
			t.Fatalf("the place of the mount is not there, so the engine would make it, for root: %v", err)
		}
		stages[filepath.Base(filepath.Dir(stage))] = stage
	}
	for _, s := range topology.Streams(topology.Settings{}) {
		if _, mounted := stages[s.Name]; mounted != s.AllowAtomicPublish {
			t.Errorf("%s allows batches: %v, and has a mount: %v", s.Name, s.AllowAtomicPublish, mounted)
		}
	}
	stage := stages[subject.Notifications]
	b := start(t, func(o *server.Options) { o.StoreDir = store })
	_, js := b.as("topology")
	if _, err := topology.Apply(testbench.Context(t), js, topology.Settings{Replicas: 1, Store: 8 << 30, Providers: providers.All.Names()}); err != nil {
		t.Fatal(err)
	}
	nc, _ := b.connect("gateway")
	for sequence := range 2 {
		m := nats.NewMsg("notifications.sandbox.default.p")
		m.Header = nats.Header{server.JSBatchId: {"b"}, server.JSBatchSeq: {strconv.Itoa(sequence + 1)}}
		if _, err := nc.RequestMsg(m, 2*time.Minute); err != nil {
			t.Fatal(err)
		}
		if staged, err := os.ReadDir(stage); err != nil || len(staged) != 1 {
			t.Errorf("%v is staged, %v", staged, err)
		}
	}
}

// TestComposeBrokerIsHealthyBeforeAndAfterTheTopology runs the health check of
// compose.yaml against a broker on a new volume, which topology waits for, then
// with the stream of notifications, then where the broker could not recover it.
func TestComposeBrokerIsHealthyBeforeAndAfterTheTopology(t *testing.T) {
	t.Parallel()
	store := t.TempDir()
	makeFolders(t, store)
	withStore := func(o *server.Options) { o.StoreDir, o.HTTPPort = store, server.RANDOM_PORT }
	b := start(t, withStore)
	if err := healthy(t, b.server.MonitorAddr().String(), store); err != nil {
		t.Errorf("on a new volume: %v", err)
	}
	_, js := b.as("topology")
	for _, s := range topology.Streams(topology.Settings{Replicas: 1, Store: 8 << 30}) {
		if err := healthy(t, b.server.MonitorAddr().String(), store); err != nil {
			t.Errorf("before %s is there: %v", s.Name, err)
		}
		_, err := js.CreateStream(testbench.Context(t), s)
		testbench.Must(t, err)
	}
	if err := healthy(t, b.server.MonitorAddr().String(), store); err != nil {
		t.Errorf("with its streams: %v", err)
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
	meta := filepath.Join(store, "jetstream", "ARAUTO", "streams", "NOTIFICATIONS", "meta.inf")
	testbench.Must(t, os.WriteFile(meta, []byte("broken"), 0o600))
	if err := healthy(t, start(t, withStore).server.MonitorAddr().String(), store); err == nil {
		t.Error("the broker is healthy without its stream of notifications")
	}
}

// makeFolders runs the command of the service that prepares the volume, on a
// folder of the test's own and for the user that runs the test.
func makeFolders(t *testing.T, store string) {
	t.Helper()
	s := composeFile(t).Services["store"]
	script := strings.NewReplacer("$$", "$", "/data", store, composeFile(t).Services["nats"].User, strconv.Itoa(os.Getuid())+":"+strconv.Itoa(os.Getgid())).Replace(s.Command[0])
	command := exec.CommandContext(t.Context(), s.Entrypoint[0], append(slices.Clone(s.Entrypoint[1:]), script)...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// TestPasswordsNeedTheAdvisedForm shows why .env.example says how passwords
// must look.
func TestPasswordsNeedTheAdvisedForm(t *testing.T) {
	t.Parallel()
	for value, usable := range map[string]bool{
		"p0123456789abcdef0123456789abcdef0123456789abcdef": true,
		"12345678": false, // A number.
		"true":     false, // A truth value.
		"":         false, // Whoever sends no password would be let in.
	} {
		variable := filepath.Join(t.TempDir(), "nats.conf")
		text := strings.Replace(read(t, "deploy/nats.conf"), "$NATS_VIEWER_PASSWORD", "$viewer_password", 1)
		// A reference is parsed like the variable's value, from either source.
		testbench.Must(t, os.WriteFile(filepath.Join(filepath.Dir(variable), "subscribers.conf"), []byte(read(t, "deploy/subscribers.conf")), 0o600))
		testbench.Must(t, os.WriteFile(variable, []byte("viewer_password = "+value+"\n"+text), 0o600))
		options, err := parsed(variable)
		if got := err == nil && passwordOf(options, "viewer") == value; got != usable {
			t.Errorf("password %q: usable %v, error %v", value, got, err)
		}
	}
}

// passwordOf is what the configuration says of a user, "" for an unknown one.
func passwordOf(options *server.Options, name string) string {
	for _, u := range options.Users {
		if u.Username == name {
			return u.Password
		}
	}
	return ""
}

// parsed is ProcessConfigFile, whose panic about a password that is no text
// is an error here.
func parsed(file string) (options *server.Options, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = os.ErrInvalid
		}
	}()
	return server.ProcessConfigFile(file)
}

func TestClusterOfThreeTakesTheTopology(t *testing.T) {
	t.Parallel()
	brokers := startCluster(t, clusterConfWithDocumentedUsers(t))
	settings := topology.Settings{Replicas: 3, Store: 8 << 30, Providers: []string{"sandbox"}}
	js := brokers[0].apply(testbench.Context(t), settings)
	ctx := testbench.Context(t)
	drift, err := topology.Diff(ctx, js, settings)
	if err != nil || len(drift) != 0 {
		t.Errorf("after apply: drift %v, error %v", drift, err)
	}
	// A file without topology.replicas says 1.
	settings.Replicas = 1
	shrinks, err := topology.Shrinks(ctx, js, settings)
	if err != nil || len(shrinks) != len(topology.Streams(settings)) {
		t.Fatalf("with one replica it shrinks %+v, error %v", shrinks, err)
	}
	for _, one := range shrinks {
		if one.Setting != topology.Replicas || one.Has != 3 || one.Gets != 1 || one.Enough != 3 {
			t.Errorf("with one replica it shrinks %+v", one)
		}
	}
	f := &flow{Bench: testbench.NewBench(t, nil)}
	f.reachStreams(brokers)
}

// startCluster runs a configuration of a cluster on three servers.
func startCluster(t *testing.T, path string) []*broker {
	t.Helper()
	ports := processtest.FreePorts(t, 3)
	brokers := make([]*broker, len(ports))
	for i, port := range ports {
		options := optionsOf(t, path)
		options.ServerName, options.Cluster.Host, options.Cluster.Port = "nats-"+strconv.Itoa(i+1), "127.0.0.1", port
		options.Routes = nil
		for _, other := range ports {
			options.Routes = append(options.Routes, &url.URL{
				Scheme: "nats", User: url.UserPassword("route", routePassword),
				Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(other)),
			})
		}
		brokers[i] = run(t, options)
	}
	return brokers
}

// apply applies a topology as its user. Until the servers have found a leader,
// they refuse or say nothing.
func (b *broker) apply(ctx context.Context, s topology.Settings) jetstream.JetStream {
	b.t.Helper()
	_, js := b.as("topology")
	var err error
	if !testbench.Poll(ctx, func() bool { err = applied(ctx, js, s); return err == nil }) {
		b.t.Fatalf("apply topology to the cluster: %v", err)
	}
	return js
}

func applied(ctx context.Context, js jetstream.JetStream, s topology.Settings) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := topology.Apply(ctx, js, s)
	return err
}
