package operator

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

// event stores an event that no command decodes, and returns its sequence.
func (r *rig) event(payment string) uint64 {
	r.T.Helper()
	ack, err := r.JS.Publish(r.Ctx, r.Unit(payment).Event("o", "paid"), nil)
	r.Must(err)
	return ack.Sequence
}

func (r *rig) consumer(name string) *jetstream.ConsumerInfo {
	r.T.Helper()
	c, err := r.JS.Consumer(r.Ctx, subject.Orders, name)
	r.Must(err)
	return c.CachedInfo()
}

func TestSubscriberAddMakesTheConsumerAndPrintsItsAccount(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.event("p-1")
	file := filepath.Join(t.TempDir(), "subscribers.conf")
	r.Must(os.WriteFile(file, []byte("# kept\n"), 0o600))
	var got subscriberAdded
	add := func(args ...string) {
		t.Helper()
		r.Must(json.Unmarshal([]byte(r.run(ExitDone, append([]string{"subscriber", "add", "--output", "json", "--file", file}, args...)...)), &got))
	}
	add("billing", "--filter", "orders.sandbox.>")
	info := r.consumer("billing")
	if !got.Made || info.NumPending != 1 || info.Config.MaxDeliver != -1 || filtersOf(info.Config)[0] != "orders.sandbox.>" || info.Config.InactiveThreshold != 0 {
		t.Errorf("%+v made %+v", got, info)
	}
	first := got.Password
	add("billing", "--filter", "orders.sandbox.>") // A new password for the same consumer.
	if got.Made || got.Password == first || got.Inbox != "_INBOX_billing" {
		t.Errorf("the second time: %+v", got)
	}
	add("shipping", "--from", "now")
	r.event("p-2")
	r.Until("the new event is pending", func() bool { return r.consumer("shipping").NumPending == 1 }) // The broker counts it after its ack.
	if info := r.consumer("shipping"); info.Config.OptStartSeq != 2 {
		t.Errorf("from now on: %+v", info)
	}
	add("archive", "--from", time.Now().Add(time.Hour).Format(time.RFC3339))
	if info := r.consumer("archive"); info.NumPending != 0 || info.Config.DeliverPolicy != jetstream.DeliverByStartTimePolicy {
		t.Errorf("from a time on: %+v", info)
	}
	text, err := os.ReadFile(file)
	r.Must(err)
	for name, want := range map[string]int{"# kept\n": 1, "# begin billing\n": 1, "# end billing\n": 1, "# begin shipping\n": 1, "$2a$04$": 3} {
		if n := strings.Count(string(text), name); n != want {
			t.Errorf("the file has %q %d times:\n%s", name, n, text)
		}
	}
	if strings.Contains(string(text), got.Password) || strings.Contains(string(text), first) {
		t.Error("the file holds a password")
	}
	for _, a := range r.audits() {
		if a.Verb != verbSubscriberAdd || strings.Contains(a.What, first) {
			t.Errorf("audit entry %+v", a)
		}
	}
	if n := len(r.audits()); n != 4 {
		t.Errorf("%d audit entries", n)
	}
}

func TestSubscriberAddRefusesWhatItWouldNotMake(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.run(ExitDone, "subscriber", "add", "billing")
	for _, args := range [][]string{
		{"billing", "--filter", "orders.sandbox.>"}, {"billing", "--from", "now"}, {"gateway"}, {"Billing"}, {"a.b"}, {"-x"}, {"x", "y"}, {},
		{"x", "--from", "yesterday"}, {"x", "--filter", "statuses.>"}, {"x", "--filter", "orders.sandbox"}, {"x", "--filter", "orders.>.paid"}, {"x", "--filter", "orders..>"},
		{"x", "--stream", "statuses"}, {"x", "--filter", "expectations.>"}, {"x", "--stream", "outcomes", "--filter", "orders.>"},
		{"x", "--stream", "outcomes", "--filter", "expectations.*.*.*.*.met"}, {"billing", "--stream", "outcomes"},
	} {
		r.run(ExitRefused, append([]string{"subscriber", "add"}, args...)...)
	}
	if list := r.run(ExitDone, "subscriber", "list"); strings.Count(list, "\n") != 2 || !strings.Contains(list, "billing") {
		t.Errorf("after refusals:\n%s", list)
	}
}

func TestSubscriberListShowsLagAndRemoveSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	r := idle(t)
	file := filepath.Join(t.TempDir(), "subscribers.conf")
	if out := r.run(ExitDone, "subscriber", "list"); out != "no service subscribes\n" {
		t.Errorf("without one: %s", out)
	}
	r.run(ExitDone, "subscriber", "add", "billing", "--file", file)
	for _, payment := range []string{"p-1", "p-2", "p-3"} {
		r.event(payment)
	}
	c, err := r.JS.Consumer(r.Ctx, subject.Orders, "billing")
	r.Must(err)
	batch, err := c.Fetch(2)
	r.Must(err)
	m := <-batch.Messages()
	r.Must(m.DoubleAck(r.Ctx))
	<-batch.Messages()
	var list []subscriberListed
	r.Must(json.Unmarshal([]byte(r.run(ExitDone, "subscriber", "list", "--output", "json")), &list))
	if len(list) != 1 || list[0].Lag != 1 || list[0].Unacknowledged != 1 || list[0].AckFloor != 1 || list[0].LastAck == nil {
		t.Errorf("listed %+v", list)
	}
	if out := r.run(ExitDone, "subscriber", "remove", "billing", "--dry-run"); !strings.Contains(out, "1 events were not delivered, 1 were delivered and not acked; acked up to sequence 1") ||
		!strings.HasSuffix(out, "nothing was deleted\n") || len(r.audits()) != 1 {
		t.Errorf("dry run: %s", out)
	}
	var removed subscriberRemoved
	r.Must(json.Unmarshal([]byte(r.run(ExitDone, "subscriber", "remove", "billing", "--file", file, "--output", "json")), &removed))
	if removed.Lag != 1 || removed.Unacknowledged != 1 || removed.DryRun {
		t.Errorf("removed %+v", removed)
	}
	if audits := r.audits(); len(audits) != 2 || audits[1].Verb != verbSubscriberRemove || !strings.Contains(audits[1].What, "acked up to 1, with 1 events not delivered and 1 not acked") {
		t.Errorf("audit %+v", audits)
	}
	if text, err := os.ReadFile(file); err != nil || len(text) != 0 {
		t.Errorf("the file has %q, %v", text, err)
	}
	r.run(ExitFailed, "subscriber", "remove", "billing")
}

// TestAccountsInTheFileAreReplacedOneByOne writes and removes accounts in any order, and
// wants exactly the last of each in the file, beside the text that was there.
func TestAccountsInTheFileAreReplacedOneByOne(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		file := filepath.Join(folder, "conf")
		testbench.Must(rt, os.WriteFile(file, []byte("# text"), 0o600))
		want := map[string]string{}
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			name := rapid.SampledFrom([]string{"a", "ab", "b"}).Draw(rt, "name")
			account := rapid.SampledFrom([]string{"", "one\n", "two\n"}).Draw(rt, "account")
			testbench.Must(rt, writeAccount(file, name, account))
			delete(want, name)
			if account != "" {
				want[name] = account
			}
		}
		text, err := os.ReadFile(file)
		testbench.Must(rt, err)
		if strings.Count(string(text), "# begin ") != len(want) || !strings.HasPrefix(string(text), "# text") {
			rt.Fatalf("want %v, the file has\n%s", want, text)
		}
		for name, account := range want {
			if !strings.Contains(string(text), "\n# begin "+name+"\n"+account+"# end "+name+"\n") {
				rt.Fatalf("want %s: %q, the file has\n%s", name, account, text)
			}
		}
	})
	file := filepath.Join(folder, "broken")
	testbench.Must(t, os.WriteFile(file, []byte("# begin a\n"), 0o600))
	if err := writeAccount(file, "a", "one\n"); err == nil || !strings.Contains(err.Error(), "mend it by hand") {
		t.Errorf("a file without the end of an account: %v", err)
	}
}

func TestPasswordsDifferAndMatchTheirHash(t *testing.T) {
	t.Parallel()
	one, hash, err := newPassword()
	testbench.Must(t, err)
	two, _, err := newPassword()
	testbench.Must(t, err)
	if one == two || len(one) != 49 || bcrypt.CompareHashAndPassword([]byte(hash), []byte(one)) != nil {
		t.Errorf("passwords of %d and %d bytes", len(one), len(two))
	}
}

// A service whose consumer is gone, because an earlier remove ended halfway, may
// still read ORDERS until its account is gone too.
func TestSubscriberRemoveGoesOnWithTheAccount(t *testing.T) {
	t.Parallel()
	r := idle(t)
	file := filepath.Join(t.TempDir(), "subscribers.conf")
	r.run(ExitDone, "subscriber", "add", "billing", "--file", file)
	// The consumer is deleted, and then the file cannot be written.
	r.run(ExitFailed, "subscriber", "remove", "billing", "--file", filepath.Dir(file))
	r.run(ExitDone, "subscriber", "remove", "billing", "--file", file)
	if text, err := os.ReadFile(file); err != nil || len(text) != 0 {
		t.Errorf("the file has %q, %v", text, err)
	}
	r.run(ExitFailed, "subscriber", "remove", "billing", "--file", file)
}

func TestSubscriberOfOutcomesIsAddedListedAndRemoved(t *testing.T) {
	t.Parallel()
	r := idle(t)
	file := filepath.Join(t.TempDir(), "subscribers.conf")
	r.run(ExitDone, "subscriber", "add", "billing", "--file", file)
	var added subscriberAdded
	r.Must(json.Unmarshal([]byte(r.run(ExitDone, "subscriber", "add", "ledger", "--stream", "outcomes", "--filter", "expectations.*.*.*.never_paid", "--file", file, "--output", "json")), &added))
	text, err := os.ReadFile(file)
	r.Must(err)
	if added.Stream != subject.Outcomes || !added.Made || !strings.Contains(string(text), added.Account) || strings.Contains(added.Account, "ORDERS") || strings.Contains(added.Account, "dead.") {
		t.Errorf("added %+v", added)
	}
	c, err := r.JS.Consumer(r.Ctx, subject.Outcomes, "ledger")
	r.Must(err)
	if filters := filtersOf(c.CachedInfo().Config); len(filters) != 1 || c.CachedInfo().Config.MaxDeliver != -1 {
		t.Errorf("made %+v", c.CachedInfo().Config)
	}
	if out := r.run(ExitDone, "subscriber", "list"); !strings.Contains(out, "billing  ORDERS ") || !strings.Contains(out, "ledger   OUTCOMES ") {
		t.Errorf("listed\n%s", out)
	}
	r.run(ExitRefused, "subscriber", "add", "ledger")
	if out := r.run(ExitDone, "subscriber", "remove", "ledger", "--file", file); !strings.Contains(out, "consumer ledger: 0 events were not delivered") {
		t.Errorf("removed: %s", out)
	}
	if audits := r.audits(); !strings.Contains(audits[1].What, "ledger of OUTCOMES") || !strings.Contains(audits[2].What, "delete consumer ledger of OUTCOMES") {
		t.Errorf("audit %+v", audits)
	}
	if _, err := r.JS.Consumer(r.Ctx, subject.Outcomes, "ledger"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("the consumer after its removal: %v", err)
	}
	if text, err = os.ReadFile(file); err != nil || strings.Contains(string(text), "ledger") || !strings.Contains(string(text), "billing") {
		t.Errorf("the file has %q, %v", text, err)
	}
}
