package reconcile_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tests/reconcile"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// meanwhile is the payment of which a webhook comes during the hold.
var meanwhile = reconcile.Payment{Provider: "sandbox", Account: "default", ID: "meanwhile"}

// TestRestoredElsewhereNothingIsLost holds a deployment under traffic, backs it up, and
// restores it on a broker with an empty store while look-ups fall due. Every 200 of before the
// backup must end as exactly one thing, with the work that was due meanwhile.
func TestRestoredElsewhereNothingIsLost(t *testing.T) {
	t.Parallel()
	p := build(t, 6*time.Minute)
	p.observe()
	d := p.restored(p.this(), p.elsewhere)
	audit(t, p, d)
	if len(p.events(meanwhile)) == 0 {
		t.Error("what was stored during the hold has no event")
	}
}

// TestRestoredIntoAClusterNothingIsLost is the same with three servers before and three others
// after it. Each stream must be on all of them again.
func TestRestoredIntoAClusterNothingIsLost(t *testing.T) {
	t.Parallel()
	p := buildCluster(t, 2*longest)
	d := p.restored(p.this(), func() {
		for name := range p.members {
			p.kill(name)
			testbench.Must(t, os.RemoveAll(filepath.Join(p.dir, name)))
		}
		for name := range p.members {
			testbench.Must(t, p.join(name))
			p.start(name)
		}
		if !p.poll(func() bool {
			ctx, cancel := context.WithTimeout(p.ctx, time.Second) // Without a leader, nothing answers.
			defer cancel()
			_, err := p.js.AccountInfo(ctx)
			return err == nil
		}) {
			t.Fatal("the new servers have no leader")
		}
	})
	finish(t, p)
	s, err := reconcile.Read(p.ctx, p.js)
	testbench.Must(t, err)
	closeBooks(t, s, d)
	if len(p.events(meanwhile)) == 0 {
		t.Error("what was stored during the hold has no event")
	}
	for name := range p.lasts() {
		of, err := p.js.Stream(p.ctx, name)
		testbench.Must(t, err)
		if info := of.CachedInfo(); info.Config.Replicas != 3 || info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
			t.Errorf("%s has %d replicas after the restore: %+v", name, info.Config.Replicas, info.Cluster)
		}
	}
}

// restored drives payments, has a build hold and back up the deployment, has elsewhere put an
// empty broker in the place of the one before, has this build restore the backup there, and
// drives on.
func (p *plant) restored(by binaries, elsewhere func()) *driver {
	t := p.t
	_, seed := fromEnvironment(t)
	t.Logf("SEED=%d", seed)
	d := newDriver(p)
	this := p.this()
	driving, stop := context.WithCancel(p.ctx)
	defer stop()
	var players sync.WaitGroup
	play := func(name string) {
		for i := range upgradePlayers {
			players.Go(func() { d.play(driving, name+strconv.Itoa(i), rand.New(rand.NewPCG(seed, uint64(i)))) })
		}
	}
	play("before")
	p.progress("before the hold")
	p.hold(by)

	before := p.last(subject.Orders)
	d.tell(meanwhile, step{Word: "paid", Status: order.Paid}) // A webhook is answered 200 although the deployment is held.
	if out, err := p.operate(this, "operator", "retry", "now", meanwhile.ID); err == nil || !strings.Contains(err.Error(), "held until") {
		t.Errorf("a held deployment can be changed: %v %s", err, out)
	}
	stop()
	players.Wait()
	folder := filepath.Join(t.TempDir(), "backup")
	t.Logf("backup:\n%s", p.must(by, "backup", "backup", folder))
	if now := p.last(subject.Orders); now != before {
		t.Errorf("ORDERS grew from %d to %d while the deployment was held", before, now)
	}
	kept := p.lasts()

	for _, role := range roles() { // That machine is gone.
		p.kill(role)
	}
	elsewhere()
	p.must(this, "backup", "restore", folder)
	if again, err := p.operate(this, "backup", "restore", folder); err == nil {
		t.Errorf("what is there was restored again: %s", again)
	}
	for name, last := range p.lasts() {
		if name != subject.Audit && name != subject.LookupRetries && last != kept[name] {
			t.Errorf("%s was restored up to %d, and had %d", name, last, kept[name])
		}
	}
	p.apply(this)
	for _, role := range roles() {
		p.start(role)
	}
	if !p.poll(p.accepts) {
		t.Fatal("the gateway does not answer after the restore")
	}
	if now := p.last(subject.Orders); now != before {
		t.Errorf("ORDERS grew from %d to %d before the restored deployment was resumed", before, now)
	}
	p.must(this, "backup", "resume")
	driving, stop = context.WithCancel(p.ctx)
	defer stop()
	play("after")
	p.progress("after the restore")
	stop()
	players.Wait()
	d.close()
	return d
}

// hold holds the deployment. On a busy machine a message is delivered to a request that has
// ended; then the command holds nothing, and says to run it again.
func (p *plant) hold(of binaries) {
	p.t.Helper()
	var err error
	if !p.poll(func() bool {
		if _, err = p.operate(of, "backup", "hold", "--why", "test", "--wait", "20s"); err != nil {
			p.t.Log(err)
		}
		return err == nil
	}) {
		p.t.Fatalf("the deployment is not held: %v", err)
	}
}

// must runs the operator's command, and ends the test where it fails.
func (p *plant) must(of binaries, user string, args ...string) string {
	p.t.Helper()
	out, err := p.operate(of, user, args...)
	testbench.Must(p.t, err)
	return string(out)
}

// last is the last sequence of a stream.
func (p *plant) last(name string) uint64 {
	p.t.Helper()
	s, err := p.js.Stream(p.ctx, name)
	testbench.Must(p.t, err)
	return s.CachedInfo().State.LastSeq
}

// lasts are the last sequences of the streams that only workers write.
func (p *plant) lasts() map[string]uint64 {
	p.t.Helper()
	all := map[string]uint64{}
	for _, name := range []string{
		subject.Notifications, subject.Statuses, subject.Orders, subject.OrderPayments, subject.DeadLetters, subject.Circuits,
		subject.Expectations, subject.Outcomes, subject.Forgotten,
	} {
		all[name] = p.last(name)
	}
	return all
}

// accepts reports whether the gateway answers.
func (p *plant) accepts() bool {
	status, _ := p.call(http.MethodPost, "http://"+p.gateway.Addr().String()+"/v1/sandbox/default/notifications", "wrong", "{}")
	return status != 0
}

// events are those of a payment.
func (p *plant) events(payment reconcile.Payment) (all []order.Event) {
	p.t.Helper()
	s, err := reconcile.Read(p.ctx, p.js)
	testbench.Must(p.t, err)
	for _, e := range s.Events {
		if e.Record.Payment == payment.ID {
			all = append(all, e.Record)
		}
	}
	return all
}
