package fold_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
	"arauto/workers/normalize/fold"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// bench is a broker and what the tests write to it and read from it.
type bench struct {
	*testbench.Broker
	spans order.Spans // Of the workers; those of production by default.
}

func setup(t testing.TB) bench {
	t.Helper()
	return bench{Broker: testbench.Start(t, "sandbox")}
}

// worker returns a worker with its own cache that publishes through js.
func (b bench) worker(t testing.TB, js jetstream.JetStream) *fold.Worker {
	t.Helper()
	retries, err := retry.Open(b.Ctx, b.JS, b.Tokens)
	testbench.Must(t, err)
	dead, err := deadletter.Open(b.Ctx, b.JS)
	testbench.Must(t, err)
	w, err := fold.New(b.Ctx, fold.Options{
		JS: js, Tokens: b.Tokens, Retries: retries, DeadLetters: dead, Log: zap.NewNop(),
		Metrics: fold.NewMetrics(prometheus.NewRegistry()), Now: time.Now, Spans: b.spans,
	})
	testbench.Must(t, err)
	return w
}

// observe stores an observation of a payment behind its last one, as lookup does, and
// returns it as a message.
func (b bench) observe(t testing.TB, payment, word string, refunded int64) *testbench.Delivered {
	t.Helper()
	o := order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: payment,
		Status: order.Status(word), ProviderStatus: word, Confirmed: true, Cause: order.CauseNotification,
		Amount:  &order.Amount{Currency: "BRL", Value: 10000, Refunded: refunded},
		AskedAt: time.Now(), AnsweredAt: time.Now(), Notification: "n",
	}
	if !order.Payment.Knows(o.Status) {
		o.Status = ""
	}
	body, err := json.Marshal(o)
	testbench.Must(t, err)
	on := b.Unit(payment).Status()
	stream, err := b.JS.Stream(b.Ctx, subject.Statuses)
	testbench.Must(t, err)
	var behind uint64
	last, err := stream.GetLastMsgForSubject(b.Ctx, on)
	if err == nil {
		behind = last.Sequence
	} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Fatal(err)
	}
	return b.deliver(t, &nats.Msg{Subject: on, Data: body, Header: nats.Header{"traceparent": {"00-trace"}}},
		jetstream.WithExpectLastSequencePerSubject(behind))
}

// deliver stores a message on STATUSES and returns it as a consumer delivers it.
func (b bench) deliver(t testing.TB, m *nats.Msg, options ...jetstream.PublishOpt) *testbench.Delivered {
	t.Helper()
	ack, err := b.JS.PublishMsg(b.Ctx, m, options...)
	testbench.Must(t, err)
	return b.Delivered(subject.Statuses, ack.Sequence)
}

// log reads a payment's events.
func (b bench) log(t testing.TB, payment string) []order.Event {
	t.Helper()
	return testbench.Documents[order.Event](b.Bench, subject.Orders, b.Unit(payment).Events())
}

// deadLetters reads the dead letters of a payment.
func (b bench) deadLetters(t testing.TB, payment string) []record.DeadLetter {
	t.Helper()
	return testbench.Documents[record.DeadLetter](b.Bench, subject.DeadLetters, b.Unit(payment).DeadLetter("*", record.StageNormalize))
}

func summary(events []order.Event) []string {
	all := make([]string, len(events))
	for i, e := range events {
		from := "nothing"
		if e.From != nil {
			from = string(*e.From)
		}
		all[i] = fmt.Sprintf("%d %s>%s %d", e.Transition, from, e.Status, e.Amount.Refunded)
	}
	return all
}

func TestEachOutcomeHasItsEffect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(t, b.JS)
	for _, step := range []struct {
		word        string
		refunded    int64
		events      int
		deadLetters int
	}{
		{"pending", 0, 1, 0},
		{"paid", 0, 2, 0},
		{"paid", 0, 2, 0},                  // unchanged
		{"pending", 0, 2, 0},               // late
		{"bogus", 0, 2, 1},                 // unknown word
		{"bogus", 0, 2, 1},                 // it has a dead letter already
		{"expired", 0, 2, 1},               // illegal, and looked up again
		{"partially_refunded", 3000, 3, 1}, // applied
		{"partially_refunded", 5000, 4, 1}, // a larger sum is a transition
		{"partially_refunded", 3000, 4, 1}, // a smaller one is unconfirmed
		{"refunded", 10000, 5, 1},          // applied
		{"paid", 0, 5, 1},                  // unconfirmed: refunded is final
		{"charged_back", 0, 5, 1},          // unconfirmed
		{"refunded", 10000, 5, 1},          // unchanged
		{"other", 0, 5, 2},                 // another unknown word
		{"bogus", 0, 5, 2},                 // each has its dead letter, also if they alternate
	} {
		m := b.observe(t, "o-1", step.word, step.refunded)
		for range 2 { // Redelivery changes nothing.
			testbench.Must(t, w.Handle(b.Ctx, m))
		}
		if got := len(b.log(t, "o-1")); got != step.events {
			t.Errorf("after %s %d: %d events, want %d", step.word, step.refunded, got, step.events)
		}
		if got := len(b.deadLetters(t, "o-1")); got != step.deadLetters {
			t.Errorf("after %s %d: %d dead letters, want %d", step.word, step.refunded, got, step.deadLetters)
		}
	}
	deadLetters := b.deadLetters(t, "o-1")
	if deadLetters[0].Class != record.ClassProvider || deadLetters[0].ProviderStatus != "bogus" {
		t.Errorf("the unknown word's dead letter is %+v", deadLetters[0])
	}
}

func TestReturnNeedsAConfirmation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(t, b.JS)
	handle := func(word string) {
		t.Helper()
		testbench.Must(t, w.Handle(b.Ctx, b.observe(t, "o-2", word, 0)))
	}
	handle("paid")
	handle("disputed")
	handle("paid")
	if got := len(b.log(t, "o-2")); got != 2 {
		t.Fatalf("a lone return observation made %d events, want 2", got)
	}
	due, err := b.JS.Consumer(b.Ctx, subject.LookupRetries, subject.LookupDueConsumer("sandbox"))
	testbench.Must(t, err)
	fired, err := due.Next(jetstream.FetchMaxWait(20 * time.Second)) // The broker's schedule is the clock.
	if err != nil {
		t.Fatalf("no confirming look-up came due: %v", err)
	}
	var p record.ScheduledLookUp
	testbench.Must(t, json.Unmarshal(fired.Data(), &p))
	if p.Cause != order.CauseConfirmation || p.Payment != "o-2" || p.Trace != "00-trace" {
		t.Errorf("parked look-up is %+v", p)
	}
	handle("paid")
	log := b.log(t, "o-2")
	if len(log) != 3 || log[2].Status != order.Paid || *log[2].From != order.Disputed {
		t.Errorf("after two agreeing observations the log is %v", summary(log))
	}
}

func TestRecreatedStatusesStopTheWorker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(t, b.JS)
	for range 3 {
		b.observe(t, "other", "paid", 0)
	}
	testbench.Must(t, w.Handle(b.Ctx, b.observe(t, "o-3", "paid", 0)))
	b.Recreate(subject.Statuses)
	err := b.worker(t, b.JS).Handle(b.Ctx, b.observe(t, "o-3", "refunded", 10000))
	var fatal *consume.Fatal
	if !errors.As(err, &fatal) {
		t.Errorf("folding a recreated stream gave %v, want a fatal error", err)
	}
}

// If the broker's clock was set back, an event is older than its observation.
func TestObservationYoungerThanItsEventIsTheSame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(t, b.JS)
	m := b.observe(t, "o-4", "paid", 0)
	testbench.Must(t, w.Handle(b.Ctx, m))
	m.Time = time.Now().Add(time.Minute)
	if err := w.Handle(b.Ctx, m); err != nil {
		t.Errorf("handled again: %v", err)
	}
	if got := summary(b.log(t, "o-4")); len(got) != 1 {
		t.Errorf("log is %v, want the one event", got)
	}
}

// A recreated stream has another observation at the sequence that the event names.
func TestOtherObservationAtTheEventsSequenceStopsTheWorker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	testbench.Must(t, b.worker(t, b.JS).Handle(b.Ctx, b.observe(t, "o-4", "paid", 0)))
	b.Recreate(subject.Statuses)
	err := b.worker(t, b.JS).Handle(b.Ctx, b.observe(t, "o-4", "refunded", 10000))
	var fatal *consume.Fatal
	if !errors.As(err, &fatal) {
		t.Errorf("another observation under the same number gave %v, want a fatal error", err)
	}
}

// A recreated stream has passed the sequence that the event names when the first of the
// payment's observations above it is handled.
func TestObservationBehindALowerOneThanTheEventsStopsTheWorker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 3 {
		b.observe(t, "other", "paid", 0)
	}
	if err := b.worker(t, b.JS).Handle(b.Ctx, b.observe(t, "o-4", "paid", 0)); err != nil {
		t.Fatal(err)
	}
	b.Recreate(subject.Statuses)
	b.observe(t, "o-4", "partially_refunded", 5000)
	for range 3 {
		b.observe(t, "other", "paid", 0)
	}
	err := b.worker(t, b.JS).Handle(b.Ctx, b.observe(t, "o-4", "refunded", 10000))
	var fatal *consume.Fatal
	if !errors.As(err, &fatal) {
		t.Errorf("an observation behind one that was never folded gave %v, want a fatal error", err)
	}
}

// A dead letter of the stream before it was recreated names a higher observation.
func TestDeadLetterOfARecreatedStreamReportsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead, err := deadletter.Open(b.Ctx, b.JS)
	testbench.Must(t, err)
	old := record.DeadLetter{
		ID: deadletter.ID(subject.Statuses, 99), Class: record.ClassData, Stage: record.StageNormalize, Provider: "sandbox", Account: "default",
		Kind: order.Payment, Payment: "o-7", Cause: "illegal", LastAnswer: "answered", Stream: subject.Statuses, Sequence: 99,
		Observation: 99, Next: "look", At: time.Now().UTC(),
	}
	testbench.Must(t, dead.Put(b.Ctx, b.Unit("o-7"), old, old.ID, deadletter.SameID(old.ID)))
	for _, word := range []string{"moonlit", "sunlit"} {
		testbench.Must(t, b.worker(t, b.JS).Handle(b.Ctx, b.observe(t, "o-7", word, 0)))
		if word == "moonlit" {
			b.Recreate(subject.Statuses)
		}
	}
	deadLetters := b.deadLetters(t, "o-7")
	if len(deadLetters) != 2 || deadLetters[1].ProviderStatus != "sunlit" {
		t.Errorf("dead letters are %+v", deadLetters)
	}
}

func TestUnreadableObservationIsDeadLettered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(t, b.JS)
	broken := b.deliver(t, &nats.Msg{Subject: b.Unit("o-5").Status(), Data: []byte("{")})
	for _, m := range []*testbench.Delivered{b.observe(t, "o-5", "paid", 0), broken} {
		testbench.Must(t, w.Handle(b.Ctx, m))
	}
	if got := summary(b.log(t, "o-5")); len(got) != 1 {
		t.Errorf("log is %v, want the one event", got)
	}
	if deadLetters := b.deadLetters(t, "o-5"); len(deadLetters) != 1 || deadLetters[0].Class != record.ClassOurs || deadLetters[0].Observation != broken.Sequence {
		t.Errorf("dead letters are %+v", deadLetters)
	}
}

func TestOldReturnFoldedAgainSchedulesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(t, b.JS)
	for _, word := range []string{"paid", "disputed", "paid"} {
		testbench.Must(t, w.Handle(b.Ctx, b.observe(t, "o-6", word, 0)))
	}
	retries, err := retry.Open(b.Ctx, b.JS, b.Tokens)
	testbench.Must(t, err)
	entry, err := retries.Read(b.Ctx, "sandbox", "default", "o-6")
	testbench.Must(t, err)
	testbench.Must(t, retries.Cancel(b.Ctx, entry))
	last := b.observe(t, "o-6", "disputed", 0)
	if err := b.worker(t, b.JS).Handle(b.Ctx, last); err != nil { // A worker without a cache folds all observations.
		t.Fatal(err)
	}
	if entry, err = retries.Read(b.Ctx, "sandbox", "default", "o-6"); err != nil || entry.Sequence != 0 {
		t.Errorf("folding the past again scheduled %+v (%v)", entry.Parked, err)
	}
}

// crashing is a JetStream that fails at random: before a write, or after it.
type crashing struct {
	jetstream.JetStream
	dice *rand.Rand
	mu   *sync.Mutex
}

var errCrash = errors.New("crashed")

func (c crashing) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	c.mu.Lock()
	roll := c.dice.IntN(4)
	c.mu.Unlock()
	if roll == 0 {
		return nil, errCrash
	}
	ack, err := c.JetStream.PublishMsg(ctx, m, opts...)
	if roll == 1 {
		return nil, errCrash
	}
	return ack, err
}

// The central promise: for any order of processing, number of workers and crashes, the
// order log is the fold of STATUSES, numbered without gaps.
func TestAnyProcessingOrderGivesTheSameLog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	words := []string{"pending", "processing", "in_analysis", "authorized", "paid", "settled", "partially_refunded",
		"refunded", "disputed", "charged_back", "expired", "canceled", "refused", "failed", "bogus"}
	var round atomic.Int64
	rapid.Check(t, func(r *rapid.T) {
		payment := fmt.Sprintf("p-%d", round.Add(1))
		n := rapid.IntRange(1, 12).Draw(r, "observations")
		var (
			messages []*testbench.Delivered
			expected []string
			standing order.Standing
			last     *order.Event
		)
		for range n {
			word := rapid.SampledFrom(words).Draw(r, "word")
			m := b.observe(t, payment, word, rapid.SampledFrom([]int64{0, 0, 2500, 10000}).Draw(r, "refunded"))
			messages = append(messages, m)
			var o order.Observation
			if err := json.Unmarshal(m.Data(), &o); err != nil {
				r.Fatal(err)
			}
			after, outcome := standing.Fold(o, m.Time)
			if outcome == order.Applied {
				e := order.Announce(last, o, m.Sequence, after)
				last = &e
				expected = append(expected, summary([]order.Event{e})...)
			}
			standing = after
			if rapid.Bool().Draw(r, "its guard is not known") {
				m.Header.Del(jetstream.ExpectedLastSubjSeqHeader)
			}
		}
		b.process(t, messages, rapid.Uint64().Draw(r, "seed"), rapid.IntRange(1, 4).Draw(r, "workers"))
		got := summary(b.log(t, payment))
		if fmt.Sprint(got) != fmt.Sprint(expected) {
			r.Fatalf("log is %v, want %v", got, expected)
		}
	})
}

// process delivers the messages in random order to concurrent workers that crash at
// random, each message until a worker has handled it.
func (b bench) process(t testing.TB, messages []*testbench.Delivered, seed uint64, workers int) {
	dice := rand.New(rand.NewPCG(seed, 1))
	dice.Shuffle(len(messages), func(i, j int) { messages[i], messages[j] = messages[j], messages[i] })
	queue := make(chan *testbench.Delivered, len(messages)*100)
	var open sync.WaitGroup
	for _, m := range messages {
		open.Add(1)
		queue <- m
	}
	var running sync.WaitGroup
	lock := &sync.Mutex{}
	for i := range workers {
		js := crashing{JetStream: b.JS, dice: rand.New(rand.NewPCG(seed, uint64(i+2))), mu: lock}
		w := b.worker(t, js)
		running.Go(func() {
			for m := range queue {
				if err := w.Handle(b.Ctx, m); err != nil {
					if b.Ctx.Err() != nil {
						t.Error("test ran out of time")
						open.Done()
						continue
					}
					w = b.worker(t, js) // A crashed worker starts without a cache.
					queue <- m
					continue
				}
				open.Done()
			}
		})
	}
	open.Wait()
	close(queue)
	running.Wait()
}
