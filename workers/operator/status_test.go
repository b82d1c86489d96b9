package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
)

// shownHealth is Health as its JSON is read here: the durability has a test of its own.
type shownHealth struct {
	Health
	Durability json.RawMessage `json:"durability"`
}

func TestStatusTellsOfStreamsConsumersBacklogParkedAndCircuits(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.notify("p-1")
	r.notify("p-2")
	due := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	for payment, at := range map[string]time.Time{"p-3": due.Add(time.Hour), "p-4": due} {
		r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Cause: order.CauseNotification, Reason: "transport", DueAt: at,
		}))
	}
	r.run(ExitDone, "circuit", "open", "--provider", "sandbox", "--account", "default")
	out := r.run(ExitPartly, "status", "--output", "json")
	var h shownHealth
	r.Must(json.Unmarshal([]byte(out), &h))
	if h.Backlog != 2 || h.Parked.Count != 2 || h.Parked.NextDue == nil || !h.Parked.NextDue.Equal(due) ||
		len(h.Circuits) != 1 || h.Circuits[0].State != record.CircuitOpen {
		t.Errorf("status is %+v, the next is due at %s", h, due)
	}
	h.Consumers = slices.DeleteFunc(h.Consumers, func(c consumerHealth) bool {
		return strings.HasPrefix(c.Name, "lookup-") && !strings.HasSuffix(c.Name, "-sandbox")
	})
	var shown strings.Builder // Without the consumers of the other providers that there are.
	r.Must(writeJSON(&shown, h))
	golden(t, "status.json", shown.String())
	text := r.run(ExitPartly, "status")
	for _, want := range []string{"NOTIFICATIONS", "lookup-due-sandbox", "backlog: 2 messages", "parked: 2 look-ups, next due ", "circuit sandbox/default: open",
		"durability: process-kill. A 200 means that", "\nbroker: nats-server 2.", ", sync_interval unknown on test\n",
		"\nNOTIFICATIONS: replicas 1, storage file, persist_mode default, discard new, max_age none (look-ups need 96h0m0s), 0 % of 268435450 bytes full\n",
		"weak: sync_interval is unknown (test: nats.monitor_url is not set)"} {
		if !strings.Contains(text, want) {
			t.Errorf("status lacks %q:\n%s", want, text)
		}
	}
}

// claim makes the configuration claim something.
func (r *rig) claim(what string) {
	r.T.Helper()
	text, err := os.ReadFile(r.config)
	r.Must(err)
	r.Must(os.WriteFile(r.config, append(text, "gateway: {durability: \""+what+"\"}\n"...), 0o600))
}

func TestStatusTellsOfAClaimThatDoesNotHold(t *testing.T) {
	t.Parallel()
	for _, claimed := range []string{"node-loss", "power-loss,node-loss"} {
		r := idle(t)
		r.claim(claimed)
		if text := r.run(ExitPartly, "status"); !strings.Contains(text, "the gateway claims "+claimed+", so it answers with 503") || !strings.Contains(text, "weak: replicas is 1, so ") {
			t.Errorf("status says:\n%s", text)
		}
	}
}

// The gateway may see a monitoring address that this machine cannot reach.
func TestStatusTellsOfAClaimThatItCannotVerify(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.claim("power-loss")
	text := r.run(ExitPartly, "status")
	if !strings.Contains(text, "the gateway claims power-loss, which cannot be verified from here; ask /durability of the gateway\n") || strings.Contains(text, "503 or") {
		t.Errorf("status says:\n%s", text)
	}
}

func TestStatusSaysNothingOfABrokerThatItCannotSee(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.claim("node-loss")
	r.Must(r.JS.DeleteStream(r.Ctx, subject.Notifications))
	text := r.run(ExitPartly, "status")
	if !strings.Contains(text, "which cannot be verified from here; ask /durability") || !strings.Contains(text, "\ndurability: What a 200 means is not known") ||
		!strings.Contains(text, "durability cannot be seen: ") || strings.Contains(text, "503 or") {
		t.Errorf("status says:\n%s", text)
	}
}

func TestStatusNamesAStreamThatIsMissing(t *testing.T) {
	t.Parallel()
	r := idle(t)
	for _, d := range topology.Streams(topology.Settings{}) {
		r.Must(r.JS.DeleteStream(r.Ctx, d.Name))
		text := r.run(ExitPartly, "status")
		found := false
		for line := range strings.Lines(text) {
			found = found || strings.HasPrefix(line, d.Name+" ") && strings.HasSuffix(line, " missing\n")
		}
		if !found {
			t.Errorf("without %s it says:\n%s", d.Name, text)
		}
	}
	var h shownHealth
	r.Must(json.Unmarshal([]byte(r.run(ExitPartly, "status", "--output", "json")), &h))
	for _, one := range h.Streams {
		if !one.Missing {
			t.Errorf("%s is not missing", one.Name)
		}
	}
	if len(h.Streams) != len(topology.Streams(topology.Settings{})) {
		t.Errorf("streams are %+v", h.Streams)
	}
}

func TestStatusNamesAConsumerThatIsMissing(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.Must(r.JS.DeleteConsumer(r.Ctx, subject.Statuses, subject.NormalizeConsumer))
	for line := range strings.Lines(r.run(ExitPartly, "status")) {
		if strings.HasPrefix(line, "normalize") && !strings.Contains(line, "missing") {
			t.Errorf("status says %q", line)
		}
	}
}

// A provider without an account needs no consumer. A leftover needs a worker while it has messages.
func TestStatusKnowsWhatIsLeftOfAProvider(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.tend()
	r.Must(r.JS.DeleteConsumer(r.Ctx, subject.Notifications, subject.LookupConsumer("yapay")))
	if text := r.run(ExitDone, "status"); strings.Contains(text, "lookup-yapay ") || !strings.Contains(text, "\nlookup-picpay ") {
		t.Errorf("status says:\n%s", text)
	}
	r.Notify(record.Notification{Provider: "picpay", Payment: "p-1"})
	if text := r.run(ExitPartly, "status"); !strings.Contains(text, "\n  no worker works on consumer lookup-picpay\n") {
		t.Errorf("with a notification it says:\n%s", text)
	}
}

// tend lets a worker that does nothing wait at every consumer.
func (r *rig) tend() {
	r.T.Helper()
	for _, c := range topology.Consumers(topology.Settings{Providers: []string{"sandbox", "beeteller"}}) {
		r.workers().Consume(c.Stream, c.Durable, 2, func(context.Context, jetstream.Msg) error { return nil })
	}
}

func TestStatusBeginsWithWhatNeedsAPerson(t *testing.T) {
	t.Parallel()
	r := idle(t)
	said := func(want int) string { return r.run(want, "status") }
	if text := said(ExitPartly); !strings.HasPrefix(text, "needs a person:\n") || !strings.Contains(text, "\n  no worker works on consumer normalize\n") ||
		strings.Contains(text, "consumer lookup-picpay\n") { // It has no account.
		t.Errorf("without workers it says:\n%s", text)
	}
	r.tend()
	if text := said(ExitDone); !strings.HasPrefix(text, "nothing needs a person\n") {
		t.Errorf("when all is well it says:\n%s", text)
	}
	for _, step := range []struct {
		do   func()
		says string
	}{
		{func() { r.putDeadLetter("lookup", "p-1", 7) }, "1 open dead letters of class provider: arauto dead list --class provider"},
		{func() { r.run(ExitDone, "circuit", "open", "--provider", "sandbox", "--account", "default") }, "circuit sandbox/default is open since "},
		{func() {
			r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
				Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-2", Cause: order.CauseNotification, Reason: "unavailable",
				Attempts: 2, DueAt: time.Now().Add(time.Hour).UTC(),
			}))
		}, "1 look-ups have failed and wait: sandbox: unavailable"},
		{func() {
			for i := range flood {
				r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
					Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: fmt.Sprintf("f-%d", i), Cause: order.CauseNotification,
					Reason: "not_found", NotFound: 1, DueAt: time.Now().Add(time.Hour).UTC(),
				}))
			}
		}, "100 look-ups of sandbox/default wait because the provider does not know their payments: "},
		{func() {
			_, err := r.JS.PauseConsumer(r.Ctx, subject.Statuses, subject.NormalizeConsumer, time.Now().Add(time.Hour))
			r.Must(err)
		}, "an operator holds every worker until "},
		{func() { r.Must(r.JS.DeleteConsumer(r.Ctx, subject.Notifications, subject.LookupConsumer("beeteller"))) }, "consumer lookup-beeteller is missing: arauto topology apply"},
		{func() { r.shrink(subject.Orders) }, "stream ORDERS is 90."},
	} {
		step.do()
		text := said(ExitPartly)
		needs, _, _ := strings.Cut(text, "\n\n")
		if !strings.Contains(needs, "\n  "+step.says) {
			t.Errorf("it lacks %q:\n%s", step.says, text)
		}
	}
}

// A broker that cannot write needs a person first, whatever else does.
func TestStatusBeginsWithABrokerThatCannotWrite(t *testing.T) {
	t.Parallel()
	h := Health{Durability: durability.Report{Facts: &durability.Facts{Replicas: 1, Servers: []durability.Server{
		{Name: "nats-1", Failed: []durability.Failure{{Name: subject.Notifications, Error: "no space left on device"}}},
		{Name: "nats-2", StoreUsed: 95, StoreLimit: 100},
	}}}}
	r := idle(t)
	needs, err := (&Deployment{js: r.JS}).needs(r.Ctx, h)
	r.Must(err)
	said := ""
	for _, one := range needs {
		said += one.What + "\n"
	}
	if !strings.HasPrefix(said, "the store of nats-1") || needs[0].Danger != losing {
		t.Errorf("it begins with something else:\n%s", said)
	}
	for _, want := range []string{
		"the store of nats-1 is in a write error: NOTIFICATIONS (no space left on device), so that server writes nothing there until it is restarted, also when its disk has room again",
		"; free space on its disk, then restart that server\n", "store is 95 % of max_file_store on nats-2, so webhooks will be answered with 503",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it lacks %q:\n%s", want, said)
		}
	}
}

// shrink fills a stream to more than nine tenths.
func (r *rig) shrink(name string) {
	r.T.Helper()
	_, err := r.JS.Publish(r.Ctx, r.Unit("p").Event("o", order.Paid), make([]byte, 1000))
	r.Must(err)
	stream, err := r.JS.Stream(r.Ctx, name)
	r.Must(err)
	changed := stream.CachedInfo().Config
	changed.MaxBytes = int64(stream.CachedInfo().State.Bytes)*11/10 + 1
	_, err = r.JS.UpdateStream(r.Ctx, changed)
	r.Must(err)
}
