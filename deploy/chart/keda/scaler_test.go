// Package keda_test runs KEDA's own scaler on the triggers that the chart renders, and on a
// real broker.
package keda_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers"
	"github.com/kedacore/keda/v2/pkg/scalers/scalersconfig"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	v2 "k8s.io/api/autoscaling/v2"
)

const root = "../../.."

// many is how many look-ups are parked, and are due then.
const many = 10_000

// lag is the sum of what the scalers of a ScaledObject's triggers measure, and whether one
// of them is active.
func lag(t *testing.T, ctx context.Context, object, monitor string) (total int64, active bool) {
	t.Helper()
	text, err := os.ReadFile("../tests/queries/triggers.json")
	var all map[string][]struct {
		Type, MetricType string
		Metadata         map[string]string
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil || len(all[object]) == 0 {
		t.Fatalf("there are no triggers of %s, %v", object, err)
	}
	for i, trigger := range all[object] {
		if trigger.Type != "nats-jetstream" {
			t.Fatalf("%s has a trigger of type %s", object, trigger.Type)
		}
		trigger.Metadata["natsServerMonitoringEndpoint"] = monitor
		scaler, err := scalers.NewNATSJetStreamScaler(&scalersconfig.ScalerConfig{
			TriggerMetadata: trigger.Metadata, TriggerIndex: i, TriggerType: trigger.Type,
			MetricType: v2.MetricTargetType(trigger.MetricType), GlobalHTTPTimeout: time.Minute,
		})
		if err != nil {
			t.Fatal(err)
		}
		values, is, err := scaler.GetMetricsAndActivity(ctx, "lag")
		if err = errors.Join(err, scaler.Close(ctx)); err != nil {
			t.Fatal(err)
		}
		active = active || is
		for _, v := range values {
			total += v.Value.Value()
		}
	}
	return total, active
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// broker runs deploy/nats.conf with the topology for the provider sandbox, and returns a
// connection and the address of its monitoring.
func broker(t *testing.T, ctx context.Context) (*nats.Conn, string) {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", "github.com/nats-io/nats-server/v2", "./workers/cmd/arauto")
	build.Dir, build.Env = root, append(os.Environ(), "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	clients, monitor := port(t), port(t)
	shipped, err := os.ReadFile(filepath.Join(root, "deploy/nats.conf"))
	must(t, err)
	text := strings.NewReplacer(`"0.0.0.0:4222"`, `"`+clients+`"`, `"127.0.0.1:8222"`, `"`+monitor+`"`, `"/data"`, `"`+dir+`/store"`,
		"sync_interval: always", "sync_interval: 1m", "users: [\n", "users: [ {user: test, password: test}\n").Replace(string(shipped))
	must(t, errors.Join(os.WriteFile(dir+"/nats.conf", []byte(text), 0o600), os.WriteFile(dir+"/subscribers.conf", nil, 0o600)))
	c := exec.CommandContext(ctx, dir+"/nats-server", "-c", dir+"/nats.conf")
	for _, m := range regexp.MustCompile(`\$(NATS_[A-Z]+_PASSWORD)`).FindAllStringSubmatch(text, -1) {
		c.Env = append(c.Env, m[1]+"=p"+strings.ToLower(m[1]))
	}
	log := &bytes.Buffer{}
	c.Stdout, c.Stderr = log, log
	must(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM) // It may be gone.
		if err := c.Wait(); t.Failed() {
			t.Logf("the broker ended with %v:\n%s", err, log)
		}
	})
	nc, err := nats.Connect("nats://"+clients, nats.UserInfo("test", "test"), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	must(t, err)
	t.Cleanup(nc.Close)
	until(t, ctx, "the broker", nc.IsConnected)
	must(t, os.WriteFile(dir+"/arauto.yaml", []byte("profile: local\nnats: {url: \"nats://"+clients+"\", user: topology, password: \"${NATS_PASSWORD}\"}\n"+
		"topology: {store: 8GiB}\nproviders: {sandbox: {accounts: {default: {}}}, picpay: {accounts: {default: {}}}}\n"), 0o600))
	apply := exec.CommandContext(ctx, dir+"/arauto", "topology", "apply", "--config", dir+"/arauto.yaml")
	apply.Env = []string{"NATS_PASSWORD=pnats_topology_password"}
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("apply topology: %v\n%s", err, out)
	}
	return nc, monitor
}

func until(t *testing.T, ctx context.Context, what string, met func() bool) {
	t.Helper()
	for !met() {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// schedule parks many look-ups until a time, in place of what is parked.
func schedule(t *testing.T, ctx context.Context, js jetstream.JetStream, at time.Time) {
	t.Helper()
	for i := range many {
		m := nats.NewMsg(fmt.Sprintf("lookup.parked.sandbox.default.%d", i))
		m.Header.Set("Nats-Schedule", "@at "+at.UTC().Format(time.RFC3339Nano))
		m.Header.Set("Nats-Schedule-Target", fmt.Sprintf("lookup.due.sandbox.default.%d", i))
		m.Header.Set("Nats-Rollup", "sub")
		m.Data = []byte("{}")
		_, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute))
		must(t, err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		t.Fatal("the look-ups are not scheduled in time")
	}
}

func TestParkedRetriesScaleNothingAndReadyOnesDo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	nc, monitor := broker(t, ctx)
	failed := make(chan error, 1)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256), jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
		select {
		case failed <- err:
		default:
		}
	}))
	must(t, err)
	stored := func() uint64 {
		s, err := js.Stream(ctx, "LOOKUP_RETRIES")
		must(t, err)
		return s.CachedInfo().State.Msgs
	}
	schedule(t, ctx, js, time.Now().Add(24*time.Hour))
	if n := stored(); n != many {
		t.Errorf("%d look-ups are parked", n)
	}
	for _, object := range []string{"ScaledObject/arauto-lookup", "ScaledObject/arauto-normalize", "ScaledObject/arauto-expect"} {
		if total, active := lag(t, ctx, object, monitor); total != 0 || active {
			t.Errorf("%d parked look-ups are %d to the scaler of %s, active: %v", many, total, object, active)
		}
	}
	schedule(t, ctx, js, time.Now().Add(time.Second))
	until(t, ctx, "all to be due", func() bool {
		c, err := js.Consumer(ctx, "LOOKUP_RETRIES", "lookup-due-sandbox")
		must(t, err)
		return c.CachedInfo().NumPending == many
	})
	if total, active := lag(t, ctx, "ScaledObject/arauto-lookup", monitor); total != many || !active {
		t.Errorf("%d due look-ups are %d to the scaler, active: %v", many, total, active)
	}
	for i := range many {
		_, err := js.PublishMsgAsync(nats.NewMsg(fmt.Sprintf("notifications.sandbox.default.%d", i)), jetstream.WithStallWait(time.Minute))
		must(t, err)
	}
	<-js.PublishAsyncComplete()
	if total, active := lag(t, ctx, "ScaledObject/arauto-lookup", monitor); total != 2*many || !active {
		t.Errorf("with as many webhooks they are %d, active: %v", total, active)
	}
	select {
	case err := <-failed:
		t.Errorf("a message was not stored: %v", err)
	default:
	}
}
