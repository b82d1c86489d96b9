package reconcile_test

import (
	"encoding/json"
	"path/filepath"
	"strings"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tests/reconcile"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// exchange has each build leave what the other must know: dead letters and erased payments. The
// roles of this build run before and after it, and nothing else is sent meanwhile.
func (p *plant) exchange(d *driver) {
	p.t.Helper()
	p.unknown(d, "unknown-to-this")
	p.erased(d, "erased-by-old", *p.old, "normalize")
	for _, role := range []string{"lookup", "normalize"} {
		p.replace(role, role+ofOld)
	}
	p.unknown(d, "unknown-to-old")
	p.erased(d, "erased-by-this", p.this(), "normalize"+ofOld)
	for _, role := range []string{"lookup", "normalize"} {
		p.replace(role+ofOld, role)
	}
}

// this is the build of this tree.
func (p *plant) this() binaries { return binaries{bin: bin, config: p.config(), tree: root} }

// unknown has the build that runs make a dead letter, of a payment that its provider does not
// know. This build must list all dead letters with everything that the earlier one lists.
func (p *plant) unknown(d *driver, id string) {
	p.t.Helper()
	d.ghost(reconcile.Payment{Provider: "sandbox", Account: "default", ID: id})
	var before, now string
	if !p.poll(func() bool {
		before, now = p.must(*p.old, "operator", "dead", "list", "--output", "json"), p.must(p.this(), "operator", "dead", "list", "--output", "json")
		return strings.Contains(before, `"`+id+`"`) && strings.Contains(now, `"`+id+`"`)
	}) {
		p.t.Fatalf("%s has no dead letter that both builds list; they list\n%s\n%s", id, before, now)
	}
	var a, b any
	testbench.Must(p.t, json.Unmarshal([]byte(before), &a))
	testbench.Must(p.t, json.Unmarshal([]byte(now), &b))
	if at := differs("", a, b); at != "" {
		p.t.Errorf("once %s has a dead letter, both builds do not list alike %s", id, at)
	}
}

// erased has a build erase a payment of which the other handles the webhooks: one within the
// hour, which it must drop, and one after the hour, of which the log must begin again. fold is
// the process of normalize that runs: in an hour it counts the erased payments again, which it
// otherwise does once a minute and at its start.
func (p *plant) erased(d *driver, id string, by binaries, fold string) {
	p.t.Helper()
	payment := reconcile.Payment{Provider: "sandbox", Account: "default", ID: id}
	paid := step{Word: "paid", Status: order.Paid}
	d.tell(payment, paid)
	if !p.poll(func() bool { return len(p.events(payment)) > 0 }) {
		p.t.Fatalf("%s has no event", id)
	}
	p.must(by, "forget", "forget", id, "--yes")
	d.tell(payment, paid)
	sent := p.last(subject.Notifications)
	if !p.poll(func() bool {
		c, err := p.js.Consumer(p.ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
		return err == nil && c.CachedInfo().AckFloor.Stream >= sent
	}) {
		p.t.Fatalf("the webhook of %s is not acknowledged", id)
	}
	if found := p.events(payment); len(found) > 0 {
		p.t.Errorf("%s was erased, and has the events %+v", id, found)
	}
	statuses, err := p.js.Stream(p.ctx, subject.Statuses)
	testbench.Must(p.t, err)
	mark, err := statuses.GetLastMsgForSubject(p.ctx, "statuses.sandbox.default."+id)
	testbench.Must(p.t, err)
	testbench.Must(p.t, statuses.SecureDeleteMsg(p.ctx, mark.Sequence)) // As forget does after the hour.
	p.stop(fold)
	p.start(fold)
	d.tell(payment, paid)
	var found []order.Event
	if !p.poll(func() bool { found = p.events(payment); return len(found) > 0 }) || !found[0].Restarted {
		p.t.Errorf("the log of %s, which was erased, begins with %+v", id, found)
	}
	trail, err := p.js.Stream(p.ctx, subject.Audit)
	testbench.Must(p.t, err)
	if entry, err := trail.GetLastMsgForSubject(p.ctx, subject.AuditEntry("forget")); err != nil || strings.Contains(string(entry.Data), id) || !strings.Contains(string(entry.Data), `"tester"`) {
		p.t.Errorf("AUDIT has %+v of the erased payment: %v", entry, err)
	}
}

// restoredFromOld has the earlier build make a backup, which this one restores. An earlier build
// that has no such command cannot, so this one makes the backup too.
func (p *plant) restoredFromOld() {
	p.t.Helper()
	by := *p.old
	if _, err := p.operate(by, "backup", "backup", "--help"); err != nil {
		p.t.Log("the earlier build makes no backup, so this one does")
		by = p.this()
	}
	p.restored(by, p.elsewhere)
	if !p.poll(func() bool { return len(p.events(meanwhile)) > 0 }) {
		p.t.Error("what was stored during the hold has no event")
	}
}

// elsewhere puts a broker with an empty store in the place of the one before.
func (p *plant) elsewhere() {
	p.kill(broker)
	p.store = filepath.Join(p.t.TempDir(), "elsewhere")
	p.start(broker)
	p.listening()
}
