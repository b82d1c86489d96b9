package advisories_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/sweep/advisories"
)

func TestMain(m *testing.M) { testbench.Main(m) }

type rig struct {
	*testbench.Broker
	dead    *deadletter.Store
	metrics *prometheus.Registry
	worker  *advisories.Worker
}

func setup(t *testing.T) *rig {
	t.Helper()
	r := &rig{Broker: testbench.Start(t, "sandbox"), metrics: prometheus.NewRegistry()}
	var err error
	r.dead, err = deadletter.Open(r.Ctx, r.JS)
	r.Must(err)
	r.worker = r.make(r.JS, advisories.NewMetrics(r.metrics))
	return r
}

func (r *rig) make(js jetstream.JetStream, m *advisories.Metrics) *advisories.Worker {
	r.T.Helper()
	dead, err := deadletter.Open(r.Ctx, js)
	r.Must(err)
	return advisories.New(advisories.Options{
		JS: js, Tokens: r.Tokens, DeadLetters: dead, Log: zap.NewNop(), Metrics: m, Now: time.Now,
	})
}

// notify stores a notification.
func (r *rig) notify(payment string) uint64 {
	r.T.Helper()
	return r.Notify(record.Notification{ID: "n", Payment: payment, Order: "o"})
}

// next is the next message of a durable consumer.
func (r *rig) next(stream, name string) jetstream.Msg {
	r.T.Helper()
	consumer, err := r.JS.Consumer(r.Ctx, stream, name)
	r.Must(err)
	m, err := consumer.Next(jetstream.FetchMaxWait(20 * time.Second))
	r.Must(err)
	return m
}

// advisory is the next of the broker's own.
func (r *rig) advisory() jetstream.Msg {
	r.T.Helper()
	return r.next(subject.Advisories, subject.AdvisoriesConsumer)
}

// letters lists the dead letters on a subject.
func (r *rig) letters(on string) []record.DeadLetter {
	r.T.Helper()
	return testbench.Documents[record.DeadLetter](r.Bench, subject.DeadLetters, on)
}

func (r *rig) alarms() float64 {
	r.T.Helper()
	return testbench.Value(r.T, r.metrics, "arauto_advisories_without_dead_letter_total")
}

func TestTerminatedNotificationGetsItsDeadLetterOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.notify("other")
	sequence := r.notify("p")
	r.Must(r.next(subject.Notifications, subject.LookupConsumer("sandbox")).DoubleAck(r.Ctx))
	r.Must(r.next(subject.Notifications, subject.LookupConsumer("sandbox")).TermWithReason("a test"))
	m := r.advisory()
	for range 3 { // Redelivered, it finds its letter.
		r.Must(r.worker.Handle(r.Ctx, m))
	}
	letters := r.letters("dead.ours.sweep.sandbox.default.p")
	if len(letters) != 1 {
		t.Fatalf("letters %+v", letters)
	}
	l := letters[0]
	if l.ID != deadletter.ID(subject.Notifications, sequence) || l.Stream != subject.Notifications || l.Sequence != sequence ||
		l.Payment != "p" || l.Order != "o" || l.Class != record.ClassOurs || l.Next == "" {
		t.Errorf("letter %+v", l)
	}
	if n := r.alarms(); n != 1 {
		t.Errorf("%v alarms, want 1", n)
	}
}

func TestMessageDeliveredTooOftenGetsItsDeadLetter(t *testing.T) {
	t.Parallel()
	r := setup(t)
	consumer, err := r.JS.CreateOrUpdateConsumer(r.Ctx, subject.Statuses, jetstream.ConsumerConfig{
		Durable: "impatient", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 1, AckWait: 50 * time.Millisecond,
	})
	r.Must(err)
	unit := r.Unit("p")
	body, err := json.Marshal(order.Observation{Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Order: "o"})
	r.Must(err)
	_, err = r.JS.Publish(r.Ctx, unit.Status(), body)
	r.Must(err)
	_, err = consumer.Next(jetstream.FetchMaxWait(20 * time.Second))
	r.Must(err)
	_, _ = consumer.Next(jetstream.FetchMaxWait(200 * time.Millisecond)) // Makes the broker look at it again.
	r.Must(r.worker.Handle(r.Ctx, r.advisory()))
	letters := r.letters("dead.ours.sweep.sandbox.default.p")
	if len(letters) != 1 || letters[0].ID != deadletter.ID(subject.Statuses, 1) || letters[0].Attempts != 1 {
		t.Errorf("letters %+v", letters)
	}
}

func TestMessageWithADeadLetterIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := setup(t)
	sequence := r.notify("p")
	unit := r.Unit("p")
	r.put(unit, deadletter.ID(subject.Notifications, sequence), sequence)
	r.put(unit, deadletter.ID(subject.Notifications, sequence+7), sequence+7) // Not the last one, either.
	r.Must(r.next(subject.Notifications, subject.LookupConsumer("sandbox")).Term())
	r.Must(r.worker.Handle(r.Ctx, r.advisory()))
	if letters := r.letters("dead.*.sweep.>"); len(letters) != 0 || r.alarms() != 0 {
		t.Errorf("letters %+v, alarms %v", letters, r.alarms())
	}
}

// put stores a letter as lookup does.
func (r *rig) put(u subject.Unit, id string, sequence uint64) {
	r.T.Helper()
	r.Must(r.dead.Put(r.Ctx, u, record.DeadLetter{
		ID: id, Class: record.ClassData, Stage: "lookup", Provider: u.Provider, Account: u.Account, Kind: order.Payment,
		Payment: u.Payment, Cause: "c", LastAnswer: "none", Stream: subject.Notifications, Sequence: sequence, Covers: sequence, Next: "n", At: time.Now().UTC(),
	}, id, deadletter.SameID(id)))
}

// due stores a look-up on the subject of due ones, as the broker does.
func (r *rig) due(payment string, stands uint64) uint64 {
	r.T.Helper()
	body, err := json.Marshal(record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Covers: stands, Cause: order.CauseNotification,
	})
	r.Must(err)
	ack, err := r.JS.Publish(r.Ctx, r.Tokens.Waiting("sandbox", "default", payment).Due(), body)
	r.Must(err)
	return ack.Sequence
}

func TestDueLookUpIsKnownByTheNotificationThatItCovers(t *testing.T) {
	t.Parallel()
	r := setup(t)
	sequence := r.due("p", 41)
	r.put(r.Unit("p"), deadletter.ID(subject.Notifications, 41), 41)
	r.Must(r.worker.Handle(r.Ctx, given(subject.LookupRetries, sequence)))
	if n := r.alarms(); n != 0 {
		t.Errorf("%v alarms for a look-up whose notification has its letter", n)
	}
	// One that was to do better has none, when its letter was redriven.
	letter := deadletter.Entry{Unit: r.Unit("p"), Sequence: 1}
	letter.ID, letter.Stage = deadletter.ID(subject.Notifications, 41), "lookup"
	r.Must(r.dead.Mark(r.Ctx, letter, record.Redriven, "ana@desk", time.Now()))
	r.Must(r.worker.Handle(r.Ctx, given(subject.LookupRetries, sequence)))
	if letters := r.letters("dead.ours.sweep.sandbox.default.p"); len(letters) != 1 || letters[0].Sequence != sequence {
		t.Errorf("letters %+v", letters)
	}
	other := r.due("q", 42)
	r.put(r.Unit("q"), deadletter.ID(subject.Notifications, 40), 40) // About an earlier one.
	r.Must(r.worker.Handle(r.Ctx, given(subject.LookupRetries, other)))
	if letters := r.letters("dead.ours.sweep.sandbox.default.q"); len(letters) != 1 || letters[0].Sequence != other {
		t.Errorf("letters %+v", letters)
	}
}

// A dead letter about an earlier NOTIFICATIONS is about another message.
func TestDeadLetterOfAnEarlierStreamHidesNoMessage(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for range 2 {
		r.Must(r.worker.Handle(r.Ctx, given(subject.Notifications, r.notify("p"))))
		r.Recreate(subject.Notifications)
	}
	if letters := r.letters("dead.ours.sweep.sandbox.default.p"); len(letters) != 2 || letters[0].ID != letters[1].ID {
		t.Errorf("letters %+v", letters)
	}
}

// handed is an advisory as a consumer hands it out.
type handed struct {
	jetstream.Msg
	data     []byte
	sequence uint64
}

func (h handed) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Stream: h.sequence}}, nil
}

// given makes one about any message.
func given(stream string, sequence uint64) handed {
	data, err := json.Marshal(map[string]any{"stream": stream, "consumer": "lookup-due-sandbox", "stream_seq": sequence, "deliveries": 3})
	if err != nil {
		panic(err)
	}
	return handed{data: data}
}

func (handed) Subject() string {
	return "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.LOOKUP_RETRIES.lookup-due-sandbox"
}
func (h handed) Data() []byte { return h.data }

func TestMessageThatIsGoneGetsALetterThatSaysSo(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, m := range []handed{given(subject.LookupRetries, 99), given("NO_STREAM_OF_OURS", 5)} {
		r.Must(r.worker.Handle(r.Ctx, m))
		r.Must(r.worker.Handle(r.Ctx, m))
	}
	letters := r.letters("dead.ours.sweep.sandbox.unknown.unknown")
	if len(letters) != 2 || letters[0].ID != "LOOKUP_RETRIES-99" || letters[1].ID != "NO_STREAM_OF_OURS-5" {
		t.Errorf("letters %+v", letters)
	}
}

func TestUnreadableAdvisoryGetsItsDeadLetterOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for i, data := range []string{"", "{}", `{"stream":"X"}`, "[]"} {
		for range 2 {
			if err := r.worker.Handle(r.Ctx, handed{data: []byte(data), sequence: uint64(i + 1)}); err != nil {
				t.Errorf("%q: %v", data, err)
			}
		}
	}
	r.Must(r.worker.Handle(r.Ctx, handed{sequence: 1}))
	letters := r.letters("dead.ours.sweep.unknown.unknown.unknown")
	if len(letters) != 4 || letters[3].ID != deadletter.ID(subject.Advisories, 4) || r.alarms() != 4 {
		t.Errorf("%v alarms, letters %+v", r.alarms(), letters)
	}
}

// Normalize may have found it first.
func TestUnreadableEventThatWasGivenUpHasOneDeadLetter(t *testing.T) {
	t.Parallel()
	r := setup(t)
	unit := r.Unit("p")
	for i, known := range []bool{true, false} {
		ack, err := r.JS.Publish(r.Ctx, unit.Event("o", order.Paid), []byte("{"))
		r.Must(err)
		if known {
			stream, err := r.JS.Stream(r.Ctx, subject.Orders)
			r.Must(err)
			raw, err := stream.GetMsg(r.Ctx, ack.Sequence)
			r.Must(err)
			_, err = r.dead.Event(r.Ctx, unit, "normalize", raw, nil, time.Now())
			r.Must(err)
		}
		r.Must(r.worker.Handle(r.Ctx, given(subject.Orders, ack.Sequence)))
		if letters := r.letters("dead.ours.*.sandbox.default.p"); len(letters) != i+1 || r.alarms() != float64(i) {
			t.Errorf("%v alarms, letters %+v", r.alarms(), letters)
		}
	}
}

// dying is a JetStream that crashes behind each write.
type dying struct{ jetstream.JetStream }

var errCrash = errors.New("crashed")

func (d dying) PublishMsg(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if _, err := d.JetStream.PublishMsg(ctx, m, o...); err != nil {
		return nil, err
	}
	return nil, errCrash
}

func TestCrashBehindTheWriteLeavesOneLetter(t *testing.T) {
	t.Parallel()
	r := setup(t)
	m := given(subject.Notifications, r.notify("p"))
	crashing := r.make(dying{r.JS}, advisories.NewMetrics(prometheus.NewRegistry()))
	if err := crashing.Handle(r.Ctx, m); !errors.Is(err, errCrash) {
		t.Fatalf("the crash came out as %v", err)
	}
	r.Must(r.worker.Handle(r.Ctx, m))
	if letters := r.letters("dead.>"); len(letters) != 1 {
		t.Errorf("letters %+v", letters)
	}
}

// TestDueLookUpThatIsOnlyGoneIsNoAlarm has the broker say what it says of an
// acknowledged look-up after it was killed: its removal was kept, and the
// acknowledgement forgotten.
func TestDueLookUpThatIsOnlyGoneIsNoAlarm(t *testing.T) {
	t.Parallel()
	r := setup(t)
	sequence := r.due("p", 7)
	r.next(subject.LookupRetries, subject.LookupDueConsumer("sandbox"))
	stream, err := r.JS.Stream(r.Ctx, subject.LookupRetries)
	r.Must(err)
	r.Must(stream.DeleteMsg(r.Ctx, sequence))
	m := r.advisory()
	if !strings.Contains(string(m.Data()), "Unacknowledged message was deleted") {
		t.Errorf("the advisory says %s", m.Data())
	}
	r.Must(r.worker.Handle(r.Ctx, m))
	if letters := r.letters("dead.>"); len(letters) != 0 || r.alarms() != 0 {
		t.Errorf("%v alarms, letters %+v", r.alarms(), letters)
	}
}
