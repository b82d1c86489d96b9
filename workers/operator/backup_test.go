package operator

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// TestHoldPausesEveryConsumerAndResumeEndsIt holds an idle deployment. What it pauses, what it
// refuses meanwhile and what it leaves on AUDIT is looked at.
func TestHoldPausesEveryConsumerAndResumeEndsIt(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.run(ExitDone, "hold", "--for", "10m", "--why", "a test", "--by", "tester")
	r.bank.say("p-1", "paid")
	r.notify("p-1")
	if text := r.run(ExitPartly, "status"); !strings.Contains(text, "an operator holds every worker until ") {
		t.Errorf("status of a held deployment is %s", text)
	}
	if _, _, problems := arauto(t, "retry", "now", "p-1", "--config", r.config, "--by", "tester"); !strings.Contains(problems, "is held until") {
		t.Errorf("a change while held gives %q", problems)
	}
	r.run(ExitDone, "resume", "--by", "tester")
	r.moved("p-1", order.Paid)
	var entry record.Audit
	for verb, what := range map[string]string{"hold": ": a test", "resume": "go on"} {
		if raw := r.last(subject.Audit, subject.AuditEntry(verb)); raw == nil || json.Unmarshal(raw.Data, &entry) != nil || entry.Who != "tester" || !strings.HasSuffix(entry.What, what) {
			t.Errorf("%s left %+v on AUDIT", verb, entry)
		}
	}
}

// TestHoldKnowsWhatIsLeftOfAProvider holds a deployment in which a consumer is left of a provider
// without an account, and the consumer is missing of a provider with one. When that is made
// during the hold, the deployment is not held.
func TestHoldKnowsWhatIsLeftOfAProvider(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.Must(r.JS.DeleteConsumer(r.Ctx, subject.Notifications, subject.LookupConsumer("beeteller")))
	r.Must(r.JS.DeleteConsumer(r.Ctx, subject.Notifications, subject.LookupConsumer("yapay")))
	paused := func(want bool) {
		t.Helper()
		left, err := r.JS.Consumer(r.Ctx, subject.Notifications, subject.LookupConsumer("picpay"))
		r.Must(err)
		if left.CachedInfo().Paused != want {
			t.Errorf("what is left is paused: %v, want %v", !want, want)
		}
	}
	r.run(ExitDone, "hold", "--by", "tester")
	paused(true)
	r.run(ExitDone, "topology", "apply")
	folder := filepath.Join(t.TempDir(), "copy")
	if _, _, problems := arauto(t, "backup", folder, "--config", r.config, "--by", "tester"); !strings.Contains(problems, "consumer lookup-beeteller is not paused") {
		t.Errorf("a backup with a consumer that is new says %q", problems)
	}
	r.run(ExitDone, "resume", "--by", "tester")
	paused(false)
}

// TestHoldFailsWhileAMessageIsInHand has a worker that does not finish: the hold ends at once.
func TestHoldFailsWhileAMessageIsInHand(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.notify("p-1")
	consumer, err := r.JS.Consumer(r.Ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
	r.Must(err)
	_, err = consumer.Next()
	r.Must(err)
	_, _, problems := arauto(t, "hold", "--wait", "1s", "--config", r.config, "--by", "tester")
	if !strings.Contains(problems, "1 messages of consumer lookup-sandbox are in hand") {
		t.Errorf("hold with a message in hand says %q", problems)
	}
	info, err := consumer.Info(r.Ctx)
	r.Must(err)
	if info.Paused {
		t.Error("a hold that failed is still on")
	}
}

// TestHoldHasALostDeliveryDeliveredAgain has a message be in no worker's hand that the broker has
// delivered, as to a request that had ended: the hold has it delivered again.
func TestHoldHasALostDeliveryDeliveredAgain(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.notify("p-1")
	consumer, err := r.JS.Consumer(r.Ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
	r.Must(err)
	config := consumer.CachedInfo().Config
	config.AckWait = time.Second
	_, err = r.JS.UpdateConsumer(r.Ctx, subject.Notifications, config)
	r.Must(err)
	_, err = consumer.Next()
	r.Must(err)
	r.bank.say("p-1", "paid")
	r.work()
	r.run(ExitDone, "hold", "--wait", "12s", "--by", "tester")
	info, err := consumer.Info(r.Ctx)
	r.Must(err)
	if !info.Paused || info.NumAckPending > 0 {
		t.Errorf("the held consumer is paused: %v, with %d messages in hand", info.Paused, info.NumAckPending)
	}
}

// TestBackupNeedsAHoldAndRestoreAnEmptyBroker backs up and restores what a look-up has made,
// and refuses what is not held, not empty or not what was backed up.
func TestBackupNeedsAHoldAndRestoreAnEmptyBroker(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.bank.say("p-1", "paid")
	r.notify("p-1")
	r.moved("p-1", order.Paid)
	folder := filepath.Join(t.TempDir(), "copy")
	refused := func(config, want string, args ...string) {
		t.Helper()
		if code, _, problems := arauto(t, append(args, "--config", config, "--by", "tester")...); code != ExitFailed || !strings.Contains(problems, want) {
			t.Errorf("arauto %q: code %d, %q, want %q", args, code, problems, want)
		}
	}
	refused(r.config, "is not held", "backup", folder)
	r.run(ExitDone, "hold", "--by", "tester")
	r.run(ExitDone, "backup", folder, "--by", "tester")
	refused(r.config, "file exists", "backup", folder)
	refused(r.config, "the broker has stream", "restore", folder)

	empty := testbench.StartEmpty(t)
	text, err := os.ReadFile(r.config)
	r.Must(err)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere.yaml")
	r.Must(os.WriteFile(elsewhere, []byte(strings.ReplaceAll(string(text), r.URL, empty.URL)), 0o600))
	changed := filepath.Join(folder, "ORDERS.snapshot")
	whole, err := os.ReadFile(changed)
	r.Must(err)
	r.Must(os.WriteFile(changed, whole[1:], 0o600))
	refused(elsewhere, "its checksum differs", "restore", folder)
	r.Must(os.WriteFile(changed, whole, 0o600))
	if code, out, problems := arauto(t, "restore", folder, "--config", elsewhere, "--by", "tester"); code != ExitDone {
		t.Fatalf("restore: code %d, %s%s", code, out, problems)
	}
	there := testbench.NewBench(t, empty.JS)
	raw, err := there.Stream(subject.Orders).GetLastMsgForSubject(there.Ctx, there.Tokens.Unit("sandbox", "default", "p-1").Events())
	r.Must(err)
	if !strings.HasSuffix(raw.Subject, ".paid") {
		t.Errorf("the restored event is %s", raw.Subject)
	}
	for _, name := range []string{subject.Notifications, subject.Statuses} {
		was, is := r.Stream(name).CachedInfo(), there.Stream(name).CachedInfo()
		if !stream.Incarnation(is).Equal(was.Created) {
			t.Errorf("%s counts from %v, and the copied stream from %v", name, stream.Incarnation(is), was.Created)
		}
	}
	for of, name := range map[string]string{subject.Statuses: subject.NormalizeConsumer, subject.Notifications: subject.LookupConsumer("picpay")} {
		held, err := empty.JS.Consumer(there.Ctx, of, name) // Of picpay there is no account, and its consumer is left.
		r.Must(err)
		if left := held.CachedInfo().PauseRemaining; left < 30*time.Minute {
			t.Errorf("%s of the restored deployment is held for %v", name, left)
		}
	}
	if m, err := readManifest(folder); err != nil || !slices.Contains(m.Consumers, subject.LookupConsumer("picpay")) {
		t.Errorf("the backup names the consumers %v: %v", m.Consumers, err)
	}
	if raw, err := there.Stream(subject.Audit).GetLastMsgForSubject(there.Ctx, subject.AuditEntry("restore")); err != nil || !strings.Contains(string(raw.Data), "restore every stream from the backup") {
		t.Errorf("restore left no entry on AUDIT: %v", err)
	}
}

// late is a broker that makes a consumer of a stream that was restored after the first request.
type late struct {
	jetstream.JetStream
	name string
	make func()
}

func (l *late) PauseConsumer(ctx context.Context, stream, name string, until time.Time) (*jetstream.ConsumerPauseResponse, error) {
	paused, err := l.JetStream.PauseConsumer(ctx, stream, name, until)
	if err != nil && name == l.name {
		l.make()
	}
	return paused, err
}

// TestRestoreAwaitsTheConsumersThatWereCopied restores on a broker that has them a moment later.
func TestRestoreAwaitsTheConsumersThatWereCopied(t *testing.T) {
	t.Parallel()
	r := idle(t)
	cfg, err := config.Load(r.config, func(string) (string, bool) { return "", false }, providers.All)
	r.Must(err)
	name := subject.LookupConsumer("picpay") // Of which there is no account any more.
	r.Must(r.JS.DeleteConsumer(r.Ctx, subject.Notifications, name))
	slow := &late{JetStream: r.JS, name: name, make: func() { r.Apply("picpay") }}
	s := &session{Deployment: NewDeployment(slow, cfg, r.Tokens)}
	if all, err := s.present(r.Ctx); err != nil || slices.Contains(all, name) || len(all) != len(s.consumerNames())-1 {
		t.Errorf("of %v are there %v: %v", s.consumerNames(), all, err)
	}
	r.Must(s.pause(r.Ctx, time.Now().Add(time.Hour), s.consumerNames()))
	made, err := r.JS.Consumer(r.Ctx, subject.Notifications, name)
	r.Must(err)
	if !made.CachedInfo().Paused {
		t.Error("a consumer that came late is not held")
	}
}

// heldVerbs are the verbs on AUDIT, in order. Nothing may be held any more.
func (r *rig) heldVerbs() (all []string) {
	r.T.Helper()
	for _, one := range r.audits() {
		all = append(all, one.Verb)
	}
	if until, err := r.deployment().HeldUntil(r.Ctx); err != nil || until != nil {
		r.T.Errorf("after %v the deployment is held until %v: %v", all, until, err)
	}
	return all
}

// TestBackupHoldsAndResumesByItself makes a backup with a hold of its own, and fails to make
// another. A hold that is there before it stays.
func TestBackupHoldsAndResumesByItself(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	folder := filepath.Join(t.TempDir(), "copy")
	if out := r.run(ExitDone, "backup", folder, "--hold", "--why", "nightly", "--by", "tester"); !strings.Contains(out, "backed up NOTIFICATIONS: ") {
		t.Errorf("it says %q", out)
	}
	if m, err := readManifest(folder); err != nil || m.By == "" {
		t.Errorf("the backup is %+v: %v", m, err)
	}
	made := []string{"hold", "backup", "resume"}
	if got := r.heldVerbs(); !slices.Equal(got, made) {
		t.Errorf("on AUDIT is %v", got)
	}
	if first := r.audits()[0]; !strings.HasSuffix(first.What, ": nightly") || first.Who != "tester" {
		t.Errorf("the hold is on AUDIT as %+v", first)
	}
	for want, args := range map[string][]string{"file exists": {folder, "--hold"}, "--why is about the hold": {folder, "--why", "x"}, "--for must be": {folder, "--hold", "--for", "25h"}} {
		args = slices.Concat([]string{"backup", "--config", r.config, "--by", "tester"}, args)
		if code, _, problems := arauto(t, args...); code == ExitDone || !strings.Contains(problems, want) {
			t.Errorf("arauto %q: code %d, %q, want %q", args, code, problems, want)
		}
	}
	if got := r.heldVerbs(); !slices.Equal(got, append(made, "hold", "resume")) {
		t.Errorf("after a backup that failed, on AUDIT is %v", got)
	}
	r.run(ExitDone, "hold", "--by", "tester")
	if _, _, problems := arauto(t, "backup", folder+"2", "--hold", "--config", r.config, "--by", "tester"); !strings.Contains(problems, "the deployment is held until") {
		t.Errorf("a backup with a hold during another says %q", problems)
	}
	if until, err := r.deployment().HeldUntil(r.Ctx); err != nil || until == nil {
		t.Errorf("the other hold has ended: %v, %v", until, err)
	}
}

// interrupted is a broker during whose copy the person at work interrupts the command.
type interrupted struct {
	jetstream.JetStream
	interrupt context.CancelFunc
}

func (i *interrupted) Publish(ctx context.Context, on string, body []byte, options ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := i.JetStream.Publish(ctx, on, body, options...)
	if on == subject.AuditEntry(verbBackup) {
		i.interrupt()
	}
	return ack, err
}

func TestInterruptedBackupEndsItsHold(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	ctx, interrupt := context.WithCancel(r.Ctx)
	defer interrupt()
	d := r.deployment()
	d.js, d.who = &interrupted{r.JS, interrupt}, "tester"
	s := &session{Deployment: d, command: &cobra.Command{}}
	folder := filepath.Join(t.TempDir(), "copy")
	if _, err := s.holdingBackup(holdFlags{lasts: time.Hour, longest: time.Minute})(ctx, folder); !errors.Is(err, context.Canceled) {
		t.Errorf("the copy ends with %v", err)
	}
	if got := r.heldVerbs(); !slices.Equal(got, []string{"hold", "backup", "resume"}) {
		t.Errorf("on AUDIT is %v", got)
	}
	if _, err := os.Stat(filepath.Join(folder, manifestFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was interrupted looks like a backup: %v", err)
	}
}
