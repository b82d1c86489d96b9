package reconcile_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tests/reconcile"
	"arauto/schemas/subject"
)

const (
	// upgradePlayers is how many payments are driven at a time. A guess: enough that each
	// step of the upgrade has work, and little enough that the books are closed soon.
	upgradePlayers = 6
	// stepEvents is how many events each step of an upgrade must see.
	stepEvents = 15
)

// TestUpgradeAndRollbackLoseNothing replaces a build by this one, role by role while webhooks
// flow, mixes the two in both ways, and goes back. Every 200 must end as exactly one thing,
// and both builds must read what either has stored.
func TestUpgradeAndRollbackLoseNothing(t *testing.T) {
	t.Parallel()
	if os.Getenv("UPGRADE") == "" {
		t.Skip("SKIPPED: `make upgrade` runs it, because it builds an earlier commit and takes minutes") //nolint:forbidigo // All tests together have 15 minutes on two cores, and the reason is shown.
	}
	_, seed := fromEnvironment(t)
	t.Logf("SEED=%d", seed)
	p := newPlant(t, 13*time.Minute)
	p.buildPrevious()
	d := p.startOld()
	p.observe()

	driving, stop := context.WithCancel(p.ctx)
	defer stop()
	var players sync.WaitGroup
	for i := range upgradePlayers {
		players.Go(func() { d.play(driving, "u"+strconv.Itoa(i), rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	p.progress("the earlier build")
	p.upgrade()
	p.handOver()
	p.rollBack()
	p.progress("the earlier build again")
	stop()
	players.Wait()
	d.close()
	for _, role := range roles() { // finish kills and starts sweep, of this build.
		p.replace(role+ofOld, role)
	}
	audit(t, p, d)
	p.renew(root) // The command of this build reads what the earlier nats.conf does not grant, see deploy/CHANGELOG.md.
	p.readAlike(d)
	p.exchange(d)
	p.restoredFromOld()
}

// startOld starts the broker as the earlier build ships it, with its topology and its roles.
func (p *plant) startOld() *driver {
	p.t.Helper()
	p.store, p.address, p.monitor = filepath.Join(p.t.TempDir(), "store"), "127.0.0.1:-1", "127.0.0.1:-1"
	p.conf = filepath.Join(p.old.tree, "deploy", "nats.conf")
	p.start(broker)
	p.address, p.monitor = p.listening()
	for _, role := range roles() {
		p.wires[role] = newWire(p.t, p.address)
	}
	d := newDriver(p)
	d.all = p.configureOld()
	testbench.Must(p.t, os.WriteFile(p.config(), []byte(configuration(p.sim.Addr().String(), 1)), 0o600))
	_, p.js = testbench.Connect(p.t, p.urls(), nats.UserInfo("test", "test"))
	p.apply(*p.old)
	p.start("simulator")
	for _, role := range olds(roles()) {
		p.start(role)
	}
	return d
}

// apply applies the topology of a build.
func (p *plant) apply(of binaries) {
	p.t.Helper()
	out, err := p.operate(of, "topology", "topology", "apply")
	testbench.Must(p.t, err)
	p.t.Logf("topology apply: %s", strings.TrimSpace(string(out)))
}

// renew restarts the broker with the nats.conf of a build. A reload would do, but for the
// passwords of new users: the environment of a process stays as it was.
func (p *plant) renew(tree string) {
	p.t.Helper()
	p.conf = filepath.Join(tree, "deploy", "nats.conf")
	p.stop(broker)
	p.start(broker)
	p.listening()
}

// upgrade does what OPERATING.md says of an upgrade, and has each role work in both builds at
// once.
func (p *plant) upgrade() {
	p.t.Helper()
	p.renew(root)
	p.apply(p.this())
	for _, role := range []string{"normalize", "sweep", "lookup", "expect", "gateway"} {
		p.start(role)
		p.progress("both builds of " + role)
		p.stop(role + ofOld)
	}
	p.progress("this build")
}

// rollBack is the way back: the gateway first, so that what only this build writes is not
// written any more, then the others, and what the broker has last.
func (p *plant) rollBack() {
	p.t.Helper()
	for _, role := range []string{"gateway", "expect", "lookup", "sweep", "normalize"} {
		p.start(role + ofOld)
		p.progress("both builds of " + role + ", on the way back")
		p.stop(role)
	}
	p.apply(*p.old)
	p.renew(p.old.tree)
}

// replace runs one process instead of another, side by side for a moment.
func (p *plant) replace(gone, by string) {
	p.start(by)
	p.stop(gone)
}

// handOver has each stored form written by one build and read by the other, and then the
// other way round: stages that follow each other are of different builds.
func (p *plant) handOver() {
	p.t.Helper()
	every := []string{"gateway", "normalize", "expect"} // Between them are lookup and sweep.
	for _, role := range every {
		p.replace(role, role+ofOld)
	}
	p.alternate("lookup and sweep of this build", *p.old, p.this())
	for _, role := range every {
		p.replace(role+ofOld, role)
	}
	for _, role := range []string{"lookup", "sweep"} {
		p.replace(role, role+ofOld)
	}
	p.alternate("lookup and sweep of the earlier build", p.this(), *p.old)
	for _, role := range []string{"lookup", "sweep"} {
		p.replace(role+ofOld, role)
	}
}

// alternate has one build open a circuit and announce a payment, and the other close the
// circuit. Payments go on.
func (p *plant) alternate(what string, one, other binaries) {
	p.t.Helper()
	must := func(of binaries, args ...string) []byte {
		p.t.Helper()
		out, err := p.operate(of, "operator", args...)
		testbench.Must(p.t, err)
		return out
	}
	must(one, "circuit", "open", "--provider", "sandbox", "--account", "acme")
	p.progress(what + ", and a circuit opened by the other")
	if list := string(must(other, "circuit", "list")); !strings.Contains(list, "sandbox/acme: open") {
		p.t.Errorf("%s: a circuit that the other build has opened is not read: %s", what, list)
	}
	must(other, "circuit", "close", "--provider", "sandbox", "--account", "acme")
	expected := "expected-" + strconv.Itoa(len(what))
	must(one, "expect", "sandbox", "default", expected, "--order", expected, "--amount", "10000", "--currency", "BRL", "--deadline",
		time.Now().Add(time.Hour).Format(time.RFC3339))
	p.call("PUT", p.steering(reconcile.Payment{Provider: "sandbox", Account: "default", ID: expected}), "", `{"status":"paid","amount":10000,"notify":false}`)
	if !p.poll(func() bool {
		outcomes, err := p.js.Stream(p.ctx, subject.Outcomes)
		if err == nil {
			_, err = outcomes.GetLastMsgForSubject(p.ctx, "expectations.sandbox.default."+expected+".met")
		}
		return err == nil
	}) {
		p.t.Fatalf("%s: %s was announced by the other build, and has no outcome", what, expected)
	}
	p.progress(what)
}

// progress waits until this many further events were published.
func (p *plant) progress(who string) {
	p.t.Helper()
	last := func() (uint64, bool) {
		ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
		defer cancel()
		s, err := p.js.Stream(ctx, subject.Orders)
		if err != nil {
			return 0, false
		}
		return s.CachedInfo().State.LastSeq, true
	}
	began := time.Now()
	var from uint64
	if !p.poll(func() (ok bool) { from, ok = last(); return ok }) ||
		!p.poll(func() bool { now, ok := last(); return ok && now >= from+stepEvents }) {
		p.t.Fatalf("%s: no events", who)
	}
	p.t.Logf("%s: %d events in %v", who, stepEvents, time.Since(began).Round(time.Millisecond))
}

// readAlike compares what both builds read of the payments: each must show everything that
// the earlier build shows in the same words.
func (p *plant) readAlike(d *driver) {
	p.t.Helper()
	left := 12
	for payment := range d.truths {
		if left--; left < 0 {
			break
		}
		args := []string{"order", "show", payment.ID, "--output", "json"}
		before, err := p.operate(*p.old, "operator", args...)
		testbench.Must(p.t, err)
		now, err := p.operate(p.this(), "operator", args...)
		testbench.Must(p.t, err)
		var a, b any
		testbench.Must(p.t, json.Unmarshal(before, &a))
		testbench.Must(p.t, json.Unmarshal(now, &b))
		if at := differs("", a, b); at != "" {
			p.t.Errorf("%s is not shown alike: %s\n%s\n%s", payment, at, before, now)
		}
	}
}

// differs says where b lacks something of a, or has something else. b may have more fields.
func differs(at string, a, b any) string {
	switch a := a.(type) {
	case map[string]any:
		other, ok := b.(map[string]any)
		if !ok {
			return at
		}
		for name, value := range a {
			if found := differs(at+"."+name, value, other[name]); found != "" {
				return found
			}
		}
		return ""
	case []any:
		other, ok := b.([]any)
		if !ok || len(a) != len(other) {
			return at
		}
		for i := range a {
			if found := differs(fmt.Sprintf("%s[%d]", at, i), a[i], other[i]); found != "" {
				return found
			}
		}
		return ""
	}
	if !reflect.DeepEqual(a, b) {
		return at
	}
	return ""
}
