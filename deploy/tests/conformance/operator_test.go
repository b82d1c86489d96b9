package conformance_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/operator"
)

// operate runs the operator's commands as their user: every one that reads,
// and every one that changes something.
func (f *flow) operate(b *broker) {
	f.T.Helper()
	path := filepath.Join(f.T.TempDir(), "arauto.yaml")
	// The look-up settings of the account are not in the operator's environment.
	text := fmt.Sprintf("hash_key: ${KEY}\nnats: {url: %q, user: operator, password: \"${PASSWORD}\"}\n"+
		"providers: {sandbox: {accounts: {default: {settings: {base_url: %q, token: \"${TOKEN}\"}}}}}\n", b.server.ClientURL(), f.bank.url)
	f.Must(os.WriteFile(path, []byte(text), 0o600))
	env := func(name string) (string, bool) {
		value, ok := map[string]string{"KEY": testbench.HashKey, "PASSWORD": password("operator")}[name]
		return value, ok
	}
	for _, line := range []string{
		"status", "doctor", "order show p-1", "dead list --class data", "circuit list",
		"replay --payment p-1", "dead redrive --class provider", "dead discard --all",
		"expect sandbox default p-9 --order o-9 --amount 10000 --currency BRL --deadline 2099-01-01T00:00:00Z", "expect sandbox default p-9 --withdraw",
		"retry now p-1", "circuit open --provider sandbox --account default", "circuit close --provider sandbox --account default",
		"subscriber add shipping --filter orders.sandbox.>", "subscriber add reports --stream outcomes",
		"subscriber list", "subscriber remove shipping", "subscriber remove reports",
	} {
		var out, problems bytes.Buffer
		args := append(strings.Fields(line), "--config", path)
		looks := line == "status" || line == "doctor"
		if code := operator.Run(f.Ctx, args, env, &out, &problems); code != operator.ExitDone && (!looks || code != operator.ExitPartly) {
			f.T.Fatalf("arauto %s: code %d, output %q, problems %q", line, code, out.String(), problems.String())
		}
		if line == "doctor" && (strings.Contains(out.String(), "does not answer this command") || strings.Contains(out.String(), "the user operator may") ||
			strings.Contains(out.String(), "permissions and the clock at")) {
			f.T.Errorf("arauto doctor: %s", out.String())
		}
	}
}

// forget erases a payment as its user, once as a dry run and once in earnest.
func (f *flow) forget(b *broker) {
	f.T.Helper()
	path := filepath.Join(f.T.TempDir(), "arauto.yaml")
	text := fmt.Sprintf("hash_key: ${KEY}\nnats: {url: %q, user: forget, password: \"${PASSWORD}\"}\n", b.server.ClientURL())
	f.Must(os.WriteFile(path, []byte(text), 0o600))
	env := func(name string) (string, bool) {
		value, ok := map[string]string{"KEY": testbench.HashKey, "PASSWORD": password("forget")}[name]
		return value, ok
	}
	f.notify("")
	_, all := b.as(inspector)
	f.Until("the notification to be handled, whose answer would cancel what is scheduled", func() bool {
		c, err := all.Consumer(f.Ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
		f.Must(err)
		return c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
	})
	_, err := all.Publish(f.Ctx, f.Tokens.Unit("sandbox", "default", "p-1").Expected(), []byte(`{"order":"o-1"}`))
	f.Must(err)
	f.bench(all).Schedule(record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Cause: order.CauseSweep, Reason: "sweep", Covers: 1 << 40,
		DueAt: time.Now().Add(time.Hour).UTC(),
	})
	for _, more := range [][]string{nil, {"--yes"}} {
		var out, problems bytes.Buffer
		args := append([]string{"forget", "p-1", "--config", path, "--by", "tester"}, more...)
		if code := operator.Run(f.Ctx, args, env, &out, &problems); code != operator.ExitDone {
			f.T.Fatalf("arauto forget: code %d, output %q, problems %q", code, out.String(), problems.String())
		}
	}
}

// removeParked does what OPERATING.md says of the user breakglass: it removes one
// parked look-up, and then those of one account and its dead letters.
func (f *flow) removeParked(b *broker) {
	f.T.Helper()
	_, all := b.as(inspector)
	var parked [3]uint64
	for i, on := range []string{"lookup.parked.sandbox.acme.one", "lookup.parked.sandbox.acme.two", "lookup.parked.sandbox.other.one"} {
		ack, err := all.Publish(f.Ctx, on, nil)
		f.Must(err)
		parked[i] = ack.Sequence
	}
	_, js := b.as("breakglass")
	retries, err := js.Stream(f.Ctx, subject.LookupRetries)
	f.Must(err)
	f.Must(retries.DeleteMsg(f.Ctx, parked[0]))
	f.Must(retries.Purge(f.Ctx, jetstream.WithPurgeSubject("lookup.parked.sandbox.acme.*")))
	stored, err := all.Stream(f.Ctx, subject.LookupRetries)
	f.Must(err)
	for i, sequence := range parked {
		if _, err := stored.GetMsg(f.Ctx, sequence); (err == nil) != (i == 2) {
			f.T.Errorf("after the removal, parked look-up %d is read with the error %v", i, err)
		}
	}
	f.removeLetters(js, all)
}

// removeLetters is removeParked for dead letters, of which only an account's go.
func (f *flow) removeLetters(breakglass, all jetstream.JetStream) {
	f.T.Helper()
	left := map[string]bool{"dead.data.lookup.sandbox.forged.one": false, "dead.data.lookup.sandbox.other.one": true}
	for on := range left {
		_, err := all.Publish(f.Ctx, on, nil)
		f.Must(err)
	}
	letters, err := breakglass.Stream(f.Ctx, subject.DeadLetters)
	f.Must(err)
	f.Must(letters.Purge(f.Ctx, jetstream.WithPurgeSubject("dead.data.lookup.sandbox.forged.*")))
	stored, err := all.Stream(f.Ctx, subject.DeadLetters)
	f.Must(err)
	for on, want := range left {
		if _, err := stored.GetLastMsgForSubject(f.Ctx, on); (err == nil) != want {
			f.T.Errorf("after the removal, the dead letter on %s is read with the error %v", on, err)
		}
	}
	f.Must(stored.Purge(f.Ctx, jetstream.WithPurgeSubject("dead.data.lookup.sandbox.other.*")))
}
