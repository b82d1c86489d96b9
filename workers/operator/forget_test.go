package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/forgotten"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
)

// A new stream must say what forget does with it.
func TestForgetKnowsEveryStream(t *testing.T) {
	t.Parallel()
	tokens, err := subject.Keyed(testbench.HashKey)
	testbench.Must(t, err)
	unit, waiting := tokens.Unit("sandbox", "default", "p"), tokens.Waiting("sandbox", "default", "p")
	covered := map[string]bool{}
	for _, h := range holdings {
		covered[h.stream] = true
	}
	for _, s := range topology.Streams(topology.Settings{Store: 1 << 30}) {
		if covered[s.Name] == (kept[s.Name] != "") {
			t.Errorf("%s must be erased from (holdings) or have a reason why not (kept), and not both", s.Name)
		}
		for _, h := range holdings {
			if h.stream != s.Name {
				continue
			}
			for _, on := range s.Subjects { // Each subject of the stream has a filter.
				found := false
				for _, filter := range h.filters(unit, waiting) {
					found = found || server.SubjectsCollide(on, filter)
				}
				if !found {
					t.Errorf("no filter of %s matches its subject %s", s.Name, on)
				}
			}
		}
		delete(covered, s.Name)
	}
	for name := range covered {
		t.Errorf("there is no stream %s", name)
	}
}

// person is a payment whose id is personal data, and what its documents hold of it.
const person = "zuleica.canario@example.com"

// traces lists where anything of a payment is, apart from the mark on STATUSES.
func (r *rig) traces(payment string) (all []string) {
	r.T.Helper()
	for name := range r.JS.StreamNames(r.Ctx).Name() {
		for _, raw := range r.Messages(name, ">") {
			mark := strings.Contains(string(raw.Data), `"refused_until"`)
			if bytes.Contains(raw.Data, []byte(payment)) || !mark && strings.Contains(raw.Subject, r.Unit(payment).Payment) {
				all = append(all, raw.Subject)
			}
		}
	}
	return all
}

// lived has a payment go through everything that is stored about one.
func (r *rig) lived(payment string) {
	r.T.Helper()
	r.bank.say(payment, "pending")
	r.notify(payment)
	r.moved(payment, order.Pending)
	r.bank.say(payment, "paid")
	r.notify(payment)
	r.moved(payment, order.Paid)
	r.workers().DeadLetter(1, record.DeadLetter{
		Class: record.ClassData, Stage: record.StageLookup, Provider: "sandbox", Account: "default", Payment: payment, Order: "o-" + payment,
		Cause: "status 500", LastAnswer: "unavailable", Next: "redrive", At: time.Now().UTC(), Kind: order.Payment,
	})
	number := "o-" + payment
	r.Publish(r.Unit(payment).Expected(), expectation.Expectation{Order: number, Payment: payment})
	r.Publish(r.Unit(payment).Outcome(string(expectation.Met)), expectation.Outcome{
		Provider: "sandbox", Account: "default", Payment: payment, Order: &number, Outcome: expectation.Met,
		Version: expectation.UnreadableVersion(nil), At: time.Now().UTC(),
	})
	r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: "o-" + payment, Covers: 1 << 40,
		Cause: order.CauseSweep, Reason: "sweep", DueAt: time.Now().Add(time.Hour).UTC(),
	}))
}

func TestForgetErasesAPaymentEverywhere(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]string{"by its id": person, "by its order": "o-" + person} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := deploy(t)
			r.lived("p-1")
			r.lived(person)
			before, other := r.traces(person), r.traces("p-1")
			if out := r.run(ExitDone, "forget", id); len(before) < 6 || strings.Join(before, " ") != strings.Join(r.traces(person), " ") ||
				!strings.Contains(out, "would erase") || strings.Contains(out, "@") {
				t.Fatalf("the dry run has changed %v, or printed %s", before, out)
			}
			out := r.run(ExitDone, "forget", id, "--yes")
			if left := r.traces(person); len(left) > 0 {
				t.Errorf("after %q there are still %v", out, left)
			}
			if left := r.traces("p-1"); strings.Join(left, " ") != strings.Join(other, " ") {
				t.Errorf("of another payment there is %v, was %v", left, other)
			}
			if !strings.Contains(out, "of ORDERS") || !strings.Contains(out, "of LOOKUP_RETRIES") || strings.Contains(out, "@") {
				t.Errorf("it prints %s", out)
			}
			audits := r.audits()
			if last := audits[len(audits)-1]; last.Verb != verbForget || last.Payment != r.Tokens.Hash(person) {
				t.Errorf("the trail says %+v", last)
			}
		})
	}
}

// erasedBefore is deploy where a payment was erased before the workers began, which count
// such payments once a minute.
func erasedBefore(t *testing.T) *rig {
	t.Helper()
	r := idle(t)
	store, err := forgotten.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	r.Must(store.Note(r.Ctx, "sandbox", "default", "another", time.Now()))
	r.work()
	return r
}

func TestPaymentIsRefusedForAnHourAndThenRestarts(t *testing.T) {
	t.Parallel()
	r := erasedBefore(t)
	r.lived("p-1")
	r.run(ExitDone, "forget", "p-1", "--yes")
	refused := r.Notify(record.Notification{Payment: "p-1", Order: "o-p-1"})
	r.Until("the webhook to be dropped", func() bool {
		return r.workers().AckFloor(subject.Notifications, subject.LookupConsumer("sandbox")) >= refused
	})
	if left := r.traces("p-1"); len(left) != 1 || left[0] != r.Unit("p-1").Notification() {
		t.Errorf("a webhook within the hour has made %v", left)
	}
	r.run(ExitDone, "forget", "p-1", "--yes") // Within the hour it erases that webhook too.
	if left := r.traces("p-1"); len(left) > 0 {
		t.Errorf("after a second run there are still %v", left)
	}
	r.workers().EndRefusal("p-1")
	r.notify("p-1")
	r.moved("p-1", order.Paid)
	var e order.Event
	r.Must(json.Unmarshal(r.last(subject.Orders, r.Unit("p-1").Events()).Data, &e))
	if !e.Restarted || e.Transition != 1 || e.From != nil {
		t.Errorf("the first event after it is %+v", e)
	}
}

// The second run after the hour removes the mark, and what came within the hour. The first
// event after that still says that the log was restarted.
func TestForgetRunAgainAfterTheHourRemovesTheMark(t *testing.T) {
	t.Parallel()
	r := erasedBefore(t)
	r.lived("p-1")
	r.run(ExitDone, "forget", "p-1", "--yes")
	r.workers().EndRefusal("p-1")
	r.run(ExitDone, "forget", "p-1", "--yes")
	if raw := r.last(subject.Statuses, r.Unit("p-1").Status()); raw != nil {
		t.Errorf("there is still %s on %s", raw.Data, raw.Subject)
	}
	r.run(ExitFailed, "forget", "p-1", "--yes")
	r.notify("p-1")
	r.moved("p-1", order.Paid)
	var e order.Event
	r.Must(json.Unmarshal(r.last(subject.Orders, r.Unit("p-1").Events()).Data, &e))
	if !e.Restarted {
		t.Errorf("the first event after it is %+v", e)
	}
}

// An answer that was on its way when the payment was erased is not stored: the broker refuses
// it, because it is not behind the mark. So it is for a payment's first answer.
func TestAnswerOnItsWayDoesNotBringThePaymentBack(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"first": true, "later": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := deploy(t)
			if !first {
				r.lived("p-1")
			}
			release := sync.OnceFunc(r.bank.release)
			t.Cleanup(release) // Else the provider would not end where the test fails.
			r.bank.say("p-1", holdsUs)
			asked := r.Notify(record.Notification{Payment: "p-1", Order: "o-p-1"})
			r.Until("the provider to be asked", r.bank.holding)
			out := r.run(ExitPartly, "forget", "p-1", "--yes", "--wait", "200ms")
			if !strings.Contains(out, "in hand") {
				t.Errorf("it prints %s", out)
			}
			r.bank.say("p-1", "refunded")
			release()
			r.Until("the answer to be dropped", func() bool {
				return r.workers().AckFloor(subject.Notifications, subject.LookupConsumer("sandbox")) >= asked
			})
			r.run(ExitDone, "forget", "p-1", "--yes")
			if left := r.traces("p-1"); len(left) > 0 {
				t.Errorf("the answer has made %v", left)
			}
		})
	}
}

// normalize has the payment's first observation in hand, and so writes an event although the
// payment is erased meanwhile. The command waits for it, says so when it waits in vain, and
// erases the event when it is run again.
func TestForgetWaitsForAnObservationInHand(t *testing.T) {
	t.Parallel()
	r := idle(t)
	workers := r.workers()
	store, err := observations.Open(r.Ctx, r.JS)
	r.Must(err)
	_, err = store.Append(r.Ctx, r.Unit("p-1"), observations.Entry{}, order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Order: "o-p-1", Status: order.Paid, ProviderStatus: "paid", Confirmed: true,
	}, "")
	r.Must(err)
	consumer, err := r.JS.Consumer(r.Ctx, subject.Statuses, subject.NormalizeConsumer)
	r.Must(err)
	inHand, err := consumer.Next()
	r.Must(err)
	out := r.run(ExitPartly, "forget", "p-1", "--yes", "--wait", "200ms")
	if !strings.Contains(out, "normalize has not acknowledged all") {
		t.Errorf("it prints %s", out)
	}
	r.Must(workers.Fold().Handle(r.Ctx, inHand))
	r.Must(inHand.DoubleAck(r.Ctx))
	if left := r.traces("p-1"); len(left) == 0 {
		t.Fatal("the observation in hand has made no event, so the wait is superfluous")
	}
	workers.Consume(subject.Statuses, subject.NormalizeConsumer, 2, workers.Fold().Handle)
	r.run(ExitDone, "forget", "p-1", "--yes")
	if left := r.traces("p-1"); len(left) > 0 {
		t.Errorf("after the second run there are still %v", left)
	}
}

// changes are the requests of forget that change something.
var changes = regexp.MustCompile(`PUB (audit|forgotten|statuses|\$JS\.API\.STREAM\.MSG\.DELETE)\.`)

// TestForgetGoesOnAfterADeathAnywhere ends the command behind each change that it requests
// from the broker, and runs it again.
func TestForgetGoesOnAfterADeathAnywhere(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	ended := false
	for requests := 1; !ended; requests++ {
		payment := fmt.Sprintf("p-%d", 1000+requests)
		r.lived(payment)
		ctx, die := context.WithCancel(r.Ctx)
		left := requests
		proxy := testbench.NewProxy(t, strings.TrimPrefix(r.URL, "nats://"), func(to io.Writer, from io.Reader) {
			buf := make([]byte, 1<<16)
			for {
				n, err := from.Read(buf)
				if _, failed := to.Write(buf[:n]); err != nil || failed != nil {
					return
				}
				if left -= len(changes.FindAll(buf[:n], -1)); left <= 0 {
					die()
				}
			}
		}, nil)
		text, err := os.ReadFile(r.config)
		r.Must(err)
		through := r.config + payment
		r.Must(os.WriteFile(through, bytes.Replace(text, []byte(strings.TrimPrefix(r.URL, "nats://")), []byte(proxy.Addr), 1), 0o600))
		var out, problems bytes.Buffer
		code := Run(ctx, []string{"forget", payment, "--yes", "--config", through}, os.LookupEnv, &out, &problems)
		die()
		ended = code == ExitDone
		proxy.Cut()
		if code := Run(r.Ctx, []string{"forget", payment, "--yes", "--config", r.config}, os.LookupEnv, &out, &problems); code != ExitDone {
			t.Fatalf("behind request %d: the second run ends with code %d: %s%s", requests, code, &out, &problems)
		}
		if requests > 100 {
			t.Fatal("it never ends by itself")
		}
		if left := r.traces(payment); len(left) > 0 {
			t.Errorf("behind request %d: there are still %v", requests, left)
		}
	}
}
