package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

// member is one server of a cluster: its configuration and where it listens.
type member struct {
	conf           string
	env            []string
	clients, route string // host:port.
	monitor        string
}

// urls is NATS_URL: where the brokers take clients.
func (p *plant) urls() string {
	return p.addresses("nats://", p.address, func(m *member) string { return m.clients })
}

// monitors is NATS_MONITOR_URL.
func (p *plant) monitors() string {
	return p.addresses("http://", p.monitor, func(m *member) string { return m.monitor })
}

// addresses lists an address of every server of the cluster, or the address of the only server.
func (p *plant) addresses(scheme, only string, of func(*member) string) string {
	if len(p.members) == 0 {
		return scheme + only
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(p.members)) {
		all = append(all, scheme+of(p.members[name]))
	}
	return strings.Join(all, ",")
}

// buildCluster starts everything on three servers with three replicas.
func buildCluster(t *testing.T, limit time.Duration) *plant {
	t.Helper()
	p := newPlant(t, limit)
	const size = 3
	ports := processtest.FreePorts(t, 3*size)
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	p.members = map[string]*member{}
	for i := range size {
		p.members["nats-"+strconv.Itoa(i+1)] = &member{clients: at(i), route: at(size + i), monitor: at(2*size + i)}
	}
	for name := range p.members {
		testbench.Must(t, p.join(name))
		p.start(name)
	}
	if !p.poll(func() bool {
		for name := range p.members {
			if _, _, ok := processtest.Listening(filepath.Join(p.dir, name), p.running[name].pid()); !ok {
				return false
			}
		}
		return true
	}) {
		t.Fatal("a server of the cluster does not listen")
	}
	p.open(size)
	return p
}

// join writes the configuration of a server: deploy/nats-cluster.conf on addresses and a
// store of the test's own.
func (p *plant) join(name string) error {
	m, dir := p.members[name], filepath.Join(p.dir, name)
	shipped, err := os.ReadFile(root + "deploy/nats-cluster.conf")
	if err = errors.Join(err, os.MkdirAll(dir, 0o700)); err != nil {
		return fmt.Errorf("read what is shipped: %w", err)
	}
	if _, m.env, err = processtest.Shipped(root+"deploy/nats.conf", dir, m.clients, "", filepath.Join(dir, "store")); err != nil {
		return err //nolint:wrapcheck // It says what failed.
	}
	var routes []string
	for other, o := range p.members {
		if other != name {
			routes = append(routes, `"nats://route:routepw@`+o.route+`"`)
		}
	}
	m.env = append(m.env, "NATS_SERVER_NAME="+name, "NATS_MONITOR_LISTEN="+m.monitor, "NATS_ROUTE_PASSWORD=routepw", "NATS_ROUTES=["+strings.Join(routes, ",")+"]")
	m.conf = filepath.Join(dir, "nats-cluster.conf")
	return os.WriteFile(m.conf, []byte(strings.Replace(string(shipped), "0.0.0.0:6222", m.route, 1)), 0o600) //nolint:gosec // The folder is the test's.
}

// TestEvery200OutlivesItsLeader has three servers and three replicas. Leaders of streams
// and consumers step down, are frozen until another one leads, and are killed: no 200 may be
// lost, no payment may have an event twice, and no number of a transition may be left out.
//
// Without FOR each of that happens once; FOR and SEED are those of the long test.
func TestEvery200OutlivesItsLeader(t *testing.T) {
	t.Parallel()
	length, seed := fromEnvironment(t)
	t.Logf("SEED=%d", seed)
	p := buildCluster(t, 3*length+5*longest)
	m := balance(t, p, length, seed, func(driving context.Context, m *trouble) {
		for _, kind := range []func(context.Context) string{m.stepDown, m.freezeLeader, m.killLeader} {
			m.done[kind(driving)]++
		}
		if os.Getenv("FOR") != "" {
			m.make(driving, m.stepDown, m.freezeLeader, m.killLeader)
		}
		pause(driving, time.Second)
	})
	if !p.batched() {
		t.Error("no notification came in a batch, so this shows nothing of them")
	}
	if delete(m.done, "none"); len(m.done) < 3 {
		t.Error("not every trouble happened, so this shows nothing of the others")
	}
}

// batched reports whether a notification that is stored came in a batch.
func (p *plant) batched() (found bool) {
	s, err := p.js.Stream(p.ctx, subject.Notifications)
	if err == nil {
		_, err = stream.Each(p.ctx, s, subject.NotificationsOf("*"), 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
			found = raw.Header.Get(server.JSBatchId) != ""
			return !found, nil
		})
	}
	if err != nil {
		p.t.Error(err)
	}
	return found
}

// leader finds the server that leads a stream of those on the way from webhook to event.
func (m *trouble) leader(ctx context.Context) (name, leads string) {
	names := []string{subject.Notifications, subject.LookupRetries, subject.Statuses, subject.Orders}
	name = names[m.dice.IntN(len(names))]
	testbench.Poll(ctx, func() bool {
		asking, cancel := context.WithTimeout(ctx, time.Second) // Without a leader, nothing answers.
		defer cancel()
		s, err := m.p.js.Stream(asking, name)
		if err == nil && s.CachedInfo().Cluster != nil {
			leads = s.CachedInfo().Cluster.Leader
		}
		return leads != ""
	})
	return name, leads
}

// stepDown makes the leaders of a stream and of the consumer of observations step down.
func (m *trouble) stepDown(ctx context.Context) string {
	name, _ := m.leader(ctx)
	for _, leader := range []string{"STREAM.LEADER.STEPDOWN." + name, "CONSUMER.LEADER.STEPDOWN." + subject.Statuses + "." + subject.NormalizeConsumer} {
		if !testbench.Poll(ctx, func() bool {
			_, err := m.p.js.Conn().Request("$JS.API."+leader, nil, time.Second)
			return err == nil
		}) {
			return "none"
		}
	}
	pause(ctx, m.upTo(300, 1500))
	return "step-down"
}

// freezeLeader stops a leader for about as long as the others take to elect one: at times
// it goes on as the leader, at times as a former leader with writes that were not confirmed.
func (m *trouble) freezeLeader(ctx context.Context) string {
	name, leads := m.leader(ctx)
	if leads == "" {
		return "none"
	}
	m.p.signal(leads, syscall.SIGSTOP)
	pause(ctx, m.upTo(1000, 8000))
	m.p.signal(leads, syscall.SIGCONT)
	pause(ctx, m.upTo(300, 3000))
	return "frozen leader of " + name
}

// killLeader kills a leader, and starts it a little later.
func (m *trouble) killLeader(ctx context.Context) string {
	name, leads := m.leader(ctx)
	if leads == "" {
		return "none"
	}
	m.p.kill(leads)
	pause(ctx, m.upTo(0, 2000))
	m.p.start(leads)
	pause(ctx, m.upTo(300, 3000))
	return "SIGKILL leader of " + name
}
