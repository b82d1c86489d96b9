package subscriber_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/schematest"
	"arauto/schemas/subject"
	"arauto/schemas/subscriber"
)

func TestMain(m *testing.M) { testbench.Main(m) }

var errBroken = errors.New("broken on purpose")

// rig is a broker with ORDERS, DEAD_LETTERS and the consumer billing.
type rig struct {
	*testbench.Broker
	stored uint64
}

func setup(t *testing.T, ackWait time.Duration) *rig {
	t.Helper()
	r := &rig{Broker: testbench.StartEmpty(t)}
	for name, on := range map[string]string{subject.Orders: "orders.>", subject.DeadLetters: "dead.>"} {
		_, err := r.JS.CreateStream(r.Ctx, jetstream.StreamConfig{Name: name, Subjects: []string{on}})
		r.Must(err)
	}
	_, err := r.JS.CreateConsumer(r.Ctx, subject.Orders, jetstream.ConsumerConfig{
		Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1,
	})
	r.Must(err)
	return r
}

// breakContract stops the broker before the test bench checks what is stored: the test
// stores what normalize never would.
func (r *rig) breakContract() { r.T.Cleanup(r.Stop) }

// never is an ack wait longer than any test, so that only returned events are redelivered.
const never = 10 * time.Minute

// event is the transition of a payment that has that number.
func event(payment string, transition uint64) order.Event {
	from := order.Paid
	e := order.Event{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Order: "o-" + payment, Payment: payment,
		Transition: transition, Status: order.Paid, ProviderStatus: "paid", Confirmed: true,
		ObservedAt: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC), Observation: transition,
	}
	if transition > 1 {
		e.From = &from
	}
	return e
}

// publish stores events as normalize does.
func (r *rig) publish(events ...order.Event) {
	r.T.Helper()
	for _, e := range events {
		body, err := json.Marshal(e)
		r.Must(err)
		m := nats.NewMsg("orders.sandbox.default." + e.Payment + "." + e.Order + "." + string(e.Status))
		m.Data = body
		for name, value := range e.CloudEvent("", e.Order) {
			m.Header.Set(name, value)
		}
		m.Header.Set("traceparent", "00-cb39ea632ec1df98cb5aea38d46bd500-01b222b95cc637dd-01")
		ack, err := r.JS.PublishMsg(r.Ctx, m)
		r.Must(err)
		r.stored = ack.Sequence
	}
}

// start runs a subscriber until stop is called; stop returns what Run returned.
func (r *rig) start(o subscriber.Options, handle subscriber.Handler) (stop func() error) {
	r.T.Helper()
	if o.Consumer == "" {
		o.Consumer = "billing"
	}
	if o.FirstDelay == 0 {
		o.FirstDelay = time.Millisecond
	}
	ctx, cancel := context.WithCancel(r.Ctx)
	done := make(chan error, 1)
	go func() { done <- subscriber.Run(ctx, r.JS, o, handle) }()
	ended := sync.OnceValue(func() error { cancel(); return <-done })
	r.T.Cleanup(func() { _ = ended() })
	return ended
}

// allAcked waits until every event is acked.
func (r *rig) allAcked() {
	r.T.Helper()
	r.Until("every event is acked", func() bool {
		c, err := r.JS.Consumer(r.Ctx, subject.Orders, "billing")
		return err == nil && c.CachedInfo().AckFloor.Stream == r.stored
	})
}

// seen is a record of the handled events, as payment and transition.
type seen struct {
	mu  sync.Mutex
	all []string
}

func (s *seen) add(e subscriber.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, e.Payment+" "+strconv.FormatUint(e.Transition, 10))
}

func (s *seen) list() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.all, ", ")
}

func TestEventsOfAPaymentAreHandledInOrder(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	var mu sync.Mutex
	last, running := map[string]uint64{}, map[string]bool{}
	stop := r.start(subscriber.Options{Concurrency: 4}, func(_ context.Context, e subscriber.Event) error {
		mu.Lock()
		if running[e.Payment] || e.Transition != last[e.Payment]+1 || e.After != last[e.Payment] {
			t.Errorf("transition %d of %s after %d (%d), another one running: %t", e.Transition, e.Payment, last[e.Payment], e.After, running[e.Payment])
		}
		if e.Trace == "" || e.ID != e.Event.ID() || e.Sequence == 0 || e.Stored.IsZero() {
			t.Errorf("the event lacks something: %+v", e)
		}
		running[e.Payment] = true
		mu.Unlock()
		mu.Lock()
		defer mu.Unlock()
		running[e.Payment], last[e.Payment] = false, e.Transition
		return nil
	})
	for n := uint64(1); n <= 5; n++ {
		for i := range 20 {
			r.publish(event("p"+strconv.Itoa(i), n))
		}
	}
	r.allAcked()
	if err := stop(); err != nil {
		t.Errorf("Run returned %v after a stop", err)
	}
	for payment, n := range last {
		if n != 5 {
			t.Errorf("%s ended at transition %d", payment, n)
		}
	}
	if len(last) != 20 {
		t.Errorf("%d payments were handled", len(last))
	}
}

func TestLaterEventsOfAPaymentWaitForAFailedOne(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	var all seen
	var failures int
	stop := r.start(subscriber.Options{}, func(_ context.Context, e subscriber.Event) error {
		if e.Payment == "a" && e.Transition == 1 && failures < 3 {
			failures++
			if failures == 3 {
				panic("the handler panics once too")
			}
			return errBroken
		}
		all.add(e)
		return nil
	})
	r.publish(event("a", 1), event("a", 2), event("a", 3))
	r.allAcked()
	_ = stop()
	if got := all.list(); got != "a 1, a 2, a 3" || failures != 3 {
		t.Errorf("handled %s after %d failures", got, failures)
	}
}

// TestStopDuringARetryDropsNoEvent stops a Run that retries an event. The next Run must
// handle it, whichever of the payment's events the broker redelivers first.
func TestStopDuringARetryDropsNoEvent(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	failed := make(chan struct{}, 1000)
	stop := r.start(subscriber.Options{FirstDelay: time.Hour}, func(context.Context, subscriber.Event) error {
		failed <- struct{}{}
		return errBroken
	})
	r.publish(event("a", 1), event("a", 2))
	testbench.Receive(t, "a failure", failed)
	_ = stop()
	r.publish(event("a", 3))
	var mu sync.Mutex
	handled := map[uint64]bool{}
	r.start(subscriber.Options{}, func(_ context.Context, e subscriber.Event) error {
		mu.Lock()
		defer mu.Unlock()
		handled[e.Transition] = true
		return nil
	})
	r.allAcked()
	mu.Lock()
	defer mu.Unlock()
	if len(handled) != 3 {
		t.Errorf("the next Run handled %v", handled)
	}
}

// An event that a stopped process has refused may be redelivered behind a later one.
func TestLateEventIsHandled(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.breakContract()
	r.publish(event("a", 1))
	c, err := r.JS.Consumer(r.Ctx, subject.Orders, "billing")
	r.Must(err)
	held, err := c.Next()
	r.Must(err)
	seen := make(chan string, 8)
	r.start(subscriber.Options{}, func(_ context.Context, e subscriber.Event) error {
		seen <- fmt.Sprintf("%d after %d, late %t", e.Transition, e.After, e.Late())
		return nil
	})
	expect := func(want string) {
		t.Helper()
		if got := testbench.Receive(t, "an event", seen); got != want {
			t.Errorf("handled %s, want %s", got, want)
		}
	}
	r.publish(event("a", 2))
	expect("2 after 0, late false")
	r.Must(held.Nak())
	expect("1 after 2, late true")
	r.publish(event("a", 3))
	expect("3 after 2, late false")
	r.allAcked()
}

func TestEventThatWasHandledIsNotHandledAgain(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.breakContract()
	var all seen
	r.start(subscriber.Options{}, func(_ context.Context, e subscriber.Event) error { all.add(e); return nil })
	r.publish(event("a", 1), event("a", 1), event("a", 2), event("a", 1))
	r.allAcked()
	if got := all.list(); got != "a 1, a 2" {
		t.Errorf("handled %s", got)
	}
}

func TestSlowHandlerKeepsItsEvent(t *testing.T) {
	t.Parallel()
	r := setup(t, 300*time.Millisecond)
	beats := make(chan struct{}, 1000)
	spy := r.Connect()
	_, err := spy.Subscribe("$JS.ACK.>", func(m *nats.Msg) {
		if string(m.Data) == "+WPI" {
			beats <- struct{}{}
		}
	})
	r.Must(err)
	r.Must(spy.Flush())
	var all seen
	r.start(subscriber.Options{}, func(_ context.Context, e subscriber.Event) error {
		all.add(e)
		for range 6 { // Twice the ack wait.
			testbench.Receive(t, "a heartbeat", beats)
		}
		return nil
	})
	r.publish(event("a", 1))
	r.allAcked()
	if got := all.list(); got != "a 1" {
		t.Errorf("handled %s", got)
	}
}

func TestRefusedEventBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	var all seen
	r.start(subscriber.Options{DeadLetters: true}, func(_ context.Context, e subscriber.Event) error {
		if e.Transition == 1 {
			return subscriber.Refuse(fmt.Errorf("no such order: %w", errBroken))
		}
		all.add(e)
		return nil
	})
	r.publish(event("a", 1), event("a", 2))
	r.allAcked()
	letters := r.Messages(subject.DeadLetters, "dead.subscriber.billing.sandbox.default.a")
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	r.Must(schematest.DeadLetter(letters[0].Data))
	var letter record.DeadLetter
	r.Must(json.Unmarshal(letters[0].Data, &letter))
	if letter.Stage != "billing" || letter.Sequence != 1 || letter.Order != "o-a" || letter.Cause != "no such order: broken on purpose" {
		t.Errorf("the dead letter is %+v", letter)
	}
	if got := all.list(); got != "a 2" {
		t.Errorf("handled %s", got)
	}
}

func TestRefusedEventIsRetriedWithoutDeadLetters(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	refusals := 0
	r.start(subscriber.Options{}, func(context.Context, subscriber.Event) error {
		if refusals++; refusals < 3 {
			return subscriber.Refuse(errBroken)
		}
		return nil
	})
	r.publish(event("a", 1))
	r.allAcked()
	if refusals != 3 {
		t.Errorf("the handler was called %d times", refusals)
	}
}

// An event of a newer version is kept until the service is updated; others go on.
func TestUnknownStatusBlocksItsPaymentOnly(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.breakContract()
	var all seen
	reports, handled := make(chan error, 1000), make(chan struct{}, 8)
	stop := r.start(subscriber.Options{FirstDelay: time.Hour, Report: func(_ subscriber.Event, err error) { reports <- err }},
		func(_ context.Context, e subscriber.Event) error { all.add(e); handled <- struct{}{}; return nil })
	strange := event("a", 1)
	strange.Status = "teleported"
	r.publish(strange, event("a", 2), event("b", 1))
	testbench.Receive(t, "the other payment's event", handled)
	if err := testbench.Receive(t, "a report", reports); !strings.Contains(err.Error(), "update it") {
		t.Errorf("reported %v", err)
	}
	_ = stop()
	if got := all.list(); got != "b 1" {
		t.Errorf("handled %s", got)
	}
}

// TestGapsAreToldApart makes each kind of gap and wants its name, once for each event,
// although the handler fails at first.
func TestGapsAreToldApart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config  jetstream.ConsumerConfig
		remove  []uint64 // Sequences that are removed before the service comes, but after what was acked.
		acked   int      // Events that an earlier process has handled.
		resetTo uint64   // Where the consumer is reset to once the first event is handled; 0 for nowhere.
		want    string   // The reports, by transition.
	}{
		"nothing is missing":                  {},
		"compacted before it came":            {remove: []uint64{1, 2}, want: "3: transitions 1 to 2 of the payment were not delivered: compacted"},
		"an earlier process has handled it":   {acked: 2},
		"compacted behind an earlier process": {acked: 2, remove: []uint64{1}},
		"begun at a sequence":                 {config: jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 3}, want: "3: transitions 1 to 2 of the payment were not delivered: begun late"},
		"begun with what was new":             {config: jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy}, want: "5: transitions 1 to 4 of the payment were not delivered: begun late"},
		"left out by its filter":              {config: jetstream.ConsumerConfig{FilterSubject: "orders.*.*.*.*.settled"}, want: "4: transitions 1 to 3 of the payment were not delivered: begun late"},
		"reset past an event":                 {resetTo: 4, want: "4: transitions 2 to 3 of the payment were not delivered: missed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t, never)
			r.breakContract()
			settled := event("a", 4)
			settled.Status = order.Settled
			r.publish(event("a", 1), event("a", 2), event("a", 3), settled)
			orders := r.Stream(subject.Orders)
			remove := func() {
				for _, sequence := range c.remove {
					r.Must(orders.DeleteMsg(r.Ctx, sequence))
				}
			}
			if c.acked == 0 {
				remove()
			}
			c.config.Durable, c.config.AckPolicy, c.config.MaxDeliver, c.config.AckWait = "shipping", jetstream.AckExplicitPolicy, -1, never
			if c.resetTo > 0 {
				c.config.MaxAckPending = 1 // The second event is not delivered before the reset.
			}
			consumer, err := r.JS.CreateConsumer(r.Ctx, subject.Orders, c.config)
			r.Must(err)
			for range c.acked {
				m, err := consumer.Next()
				r.Must(err)
				r.Must(m.DoubleAck(r.Ctx))
			}
			if c.acked > 0 {
				remove()
			}
			reports, failed := make(chan string, 8), map[uint64]bool{}
			done := make(chan uint64, 8)
			r.start(subscriber.Options{Consumer: "shipping", Concurrency: 1, Report: func(e subscriber.Event, err error) {
				if gap := new(subscriber.Gap); errors.As(err, &gap) {
					reports <- fmt.Sprintf("%d: %v", e.Transition, err)
				}
			}}, func(_ context.Context, e subscriber.Event) error {
				if !failed[e.Transition] {
					failed[e.Transition] = true
					return errBroken
				}
				if e.Transition == 1 && c.resetTo > 0 {
					_, err := r.JS.ResetConsumerToSequence(r.Ctx, subject.Orders, "shipping", c.resetTo)
					r.Must(err)
				}
				done <- e.Transition
				return nil
			})
			last := event("a", 5)
			last.Status = order.Settled
			r.publish(last)
			for testbench.Receive(t, "an event", done) != 5 {
				continue
			}
			close(reports)
			var got []string
			for one := range reports {
				got = append(got, one)
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("reported %q, want %q", got, c.want)
			}
		})
	}
}

func TestRunGoesOnAfterTheBrokerWasRestarted(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	var all seen
	r.start(subscriber.Options{}, func(_ context.Context, e subscriber.Event) error { all.add(e); return nil })
	r.publish(event("a", 1))
	r.allAcked()
	r.Stop()
	r.Restart()
	r.Until("the client is connected again", r.NC.IsConnected)
	r.publish(event("a", 2))
	r.allAcked()
	if got := all.list(); got != "a 1, a 2" {
		t.Errorf("handled %s", got)
	}
}

func TestRunRefusesAConsumerThatItCannotUse(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	_, err := r.JS.CreateConsumer(r.Ctx, subject.Orders, jetstream.ConsumerConfig{Durable: "careless", AckPolicy: jetstream.AckNonePolicy})
	r.Must(err)
	nothing := func(context.Context, subscriber.Event) error { return nil }
	if err := subscriber.Run(r.Ctx, r.JS, subscriber.Options{Consumer: "absent"}, nothing); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("a missing consumer: %v", err)
	}
	if err := subscriber.Run(r.Ctx, r.JS, subscriber.Options{Consumer: "billing_2", DeadLetters: true}, nothing); err == nil || !strings.Contains(err.Error(), "lower-case letters") {
		t.Errorf("a name that the schema of dead letters refuses: %v", err)
	}
	if err := subscriber.Run(r.Ctx, r.JS, subscriber.Options{Consumer: "careless"}, nothing); err == nil || !strings.Contains(err.Error(), "ack_policy explicit") {
		t.Errorf("a consumer without acks: %v", err)
	}
}

// An event that is retried for ever must not keep Run from its end.
func TestDeletedConsumerEndsRun(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	handled := make(chan struct{}, 2)
	done := make(chan error, 1)
	go func() {
		done <- subscriber.Run(r.Ctx, r.JS, subscriber.Options{Consumer: "billing", FirstDelay: time.Hour}, func(_ context.Context, e subscriber.Event) error {
			handled <- struct{}{}
			if e.Payment == "b" {
				return errBroken
			}
			return nil
		})
	}()
	r.publish(event("a", 1), event("b", 1))
	testbench.Receive(t, "the event", handled)
	testbench.Receive(t, "the event that fails", handled)
	r.Must(r.JS.DeleteConsumer(r.Ctx, subject.Orders, "billing"))
	if err := testbench.Receive(t, "the end of Run", done); err == nil {
		t.Error("Run returned nil without a stop")
	}
}

func TestReplayReadsWhatIsStored(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish(event("a", 1), event("b", 1), event("a", 2), event("b", 2))
	second := r.Messages(subject.Orders, "orders.>")[1].Time
	for name, c := range map[string]struct {
		start subscriber.Start
		want  string
	}{
		"all":      {subscriber.Start{}, "a 1, b 1, a 2, b 2"},
		"sequence": {subscriber.Start{Sequence: 3}, "a 2, b 2"},
		"time":     {subscriber.Start{Time: second}, "b 1, a 2, b 2"},
		"order":    {subscriber.Start{Filter: "orders.*.*.*.o-a.*"}, "a 1, a 2"},
		"nothing":  {subscriber.Start{Filter: "orders.*.*.*.o-c.*"}, ""},
	} {
		var all seen
		if err := subscriber.Replay(r.Ctx, r.JS, c.start, func(_ context.Context, e subscriber.Event) error { all.add(e); return nil }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := all.list(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if err := subscriber.Replay(r.Ctx, r.JS, subscriber.Start{}, func(context.Context, subscriber.Event) error { return errBroken }); !errors.Is(err, errBroken) {
		t.Errorf("a refused event: %v", err)
	}
}

// A service that fails for some payments goes on with the others, and hears of it when the
// consumer delivers nothing more.
func TestFailingPaymentsDoNotStopTheOthers(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	done, reports := make(chan struct{}, 1), make(chan string, 100_000)
	stop := r.start(subscriber.Options{Concurrency: 1, FirstDelay: time.Hour, Report: func(e subscriber.Event, err error) {
		if e.Sequence == 0 {
			reports <- err.Error()
		}
	}}, func(_ context.Context, e subscriber.Event) error {
		if e.Payment != "good" {
			return errBroken
		}
		done <- struct{}{}
		return nil
	})
	for i := range 100 {
		r.publish(event(fmt.Sprintf("bad-%d", i), 1))
	}
	r.publish(event("good", 1))
	testbench.Receive(t, "the good event", done)
	for i := range 900 { // The server's default for max_ack_pending is 1000.
		r.publish(event(fmt.Sprintf("worse-%d", i), 1))
	}
	if report := testbench.Receive(t, "a report", reports); report != "consumer billing delivers nothing more: 1000 events wait for the handler" {
		t.Errorf("reported %s", report)
	}
	_ = stop()
}

// Sweep compacts while a service replays.
func TestReplayEndsAlthoughEventsAreRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.breakContract()
	r.publish(event("a", 1), event("a", 2), event("b", 1))
	var all seen
	r.Must(subscriber.Replay(r.Ctx, r.JS, subscriber.Start{}, func(_ context.Context, e subscriber.Event) error {
		all.add(e)
		if e.Sequence > 1 {
			return nil
		}
		s, err := r.JS.Stream(r.Ctx, subject.Orders)
		r.Must(err)
		for _, sequence := range []uint64{2, 3} {
			if err := s.DeleteMsg(r.Ctx, sequence); err != nil {
				return err
			}
		}
		return nil
	}))
	if got := all.list(); !strings.HasPrefix(got, "a 1") { // The others may have been delivered before they were removed.
		t.Errorf("visited %s", got)
	}
}

// The log of a payment that was removed begins again with 1: none of its events is late, and
// those of the old log count for nothing.
func TestRestartedLogIsNotLate(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.breakContract()
	seen := make(chan string, 8)
	r.start(subscriber.Options{Report: func(_ subscriber.Event, err error) { seen <- err.Error() }}, func(_ context.Context, e subscriber.Event) error {
		seen <- fmt.Sprintf("%d after %d, late %t", e.Transition, e.After, e.Late())
		return nil
	})
	restarted := event("a", 1) // Not marked as restarted, as where nothing was captured.
	restarted.Observation = 11
	next := event("a", 2)
	next.Observation = 12
	r.publish(event("a", 1), event("a", 2), event("a", 3), restarted, next)
	for _, want := range []string{
		"1 after 0, late false", "2 after 1, late false", "3 after 2, late false", "1 after 0, late false", "2 after 1, late false",
	} {
		if got := testbench.Receive(t, "an event", seen); got != want {
			t.Errorf("handled %s, want %s", got, want)
		}
	}
}
