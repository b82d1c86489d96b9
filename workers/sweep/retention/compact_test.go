package retention_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
	"arauto/workers/normalize/fold"
	"arauto/workers/sweep/retention"
)

const day = 24 * time.Hour

// ledger is a broker with a real normalize worker, so that what is compacted
// is what it writes, and what is left must be enough for it to go on.
type ledger struct {
	*testbench.Broker
	orders jetstream.Stream
	spans  order.Spans // Of the worker; production's if empty.
	remove time.Duration

	unreadable []uint64 // Sequences of the events that compacting has reported as unreadable.
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	l := &ledger{Broker: testbench.Start(t, "sandbox")}
	// The broker's own check at the end wants every log from 1 on; a compacted
	// one begins later, and these tests look at the numbers themselves.
	t.Cleanup(l.Stop)
	l.orders = l.Stream(subject.Orders)
	l.Must(l.JS.DeleteConsumer(l.Ctx, subject.Orders, subject.ExpectConsumer)) // No role acknowledges its events here, which would keep all of them.
	return l
}

// observe folds observations of a payment with a worker that remembers
// nothing.
func (l *ledger) observe(kind order.Kind, payment string, statuses ...order.Status) {
	l.T.Helper()
	retries, err := retry.Open(l.Ctx, l.JS, l.Tokens)
	l.Must(err)
	dead, err := deadletter.Open(l.Ctx, l.JS)
	l.Must(err)
	w, err := fold.New(l.Ctx, fold.Options{
		JS: l.JS, Tokens: l.Tokens, Retries: retries, DeadLetters: dead, Log: zap.NewNop(),
		Metrics: fold.NewMetrics(prometheus.NewRegistry()), Now: time.Now, Spans: l.spans, RemoveAfter: l.remove,
	})
	l.Must(err)
	for _, s := range statuses {
		sequence := l.Publish(l.Unit(payment).Status(), order.Observation{
			Provider: "sandbox", Account: "default", Kind: kind, Payment: payment, Order: payment,
			Status: s, ProviderStatus: string(s), Confirmed: true, Cause: order.CauseNotification,
			AskedAt: time.Now(), AnsweredAt: time.Now(),
		})
		l.Must(w.Handle(l.Ctx, l.Delivered(subject.Statuses, sequence)))
	}
}

// log lists a payment's events as "number status".
func (l *ledger) log(payment string) string {
	l.T.Helper()
	var all []string
	for _, e := range testbench.Documents[order.Event](l.Bench, subject.Orders, l.Unit(payment).Events()) {
		all = append(all, fmt.Sprintf("%d %s", e.Transition, e.Status))
	}
	return fmt.Sprint(all)
}

// compact makes a round of a new copy whose clock is ahead.
func (l *ledger) compact(ahead time.Duration) {
	l.T.Helper()
	l.round()(ahead)
}

// round is the round of a copy at a time ahead.
func (l *ledger) round() func(ahead time.Duration) {
	l.T.Helper()
	clock := time.Duration(0)
	task := &retention.Orders{
		Stream: l.orders, Index: l.Stream(subject.OrderPayments), Metrics: retention.NewMetrics(prometheus.NewRegistry()),
		Now: func() time.Time { return time.Now().Add(clock) }, After: 180 * day, Remove: l.remove,
		Unreadable: func(_ context.Context, raw *jetstream.RawStreamMsg) error {
			l.unreadable = append(l.unreadable, raw.Sequence)
			return nil
		},
	}
	return func(ahead time.Duration) {
		l.T.Helper()
		clock = ahead
		l.Must(task.Round(l.Ctx))
	}
}

func (l *ledger) want(payment, log string) {
	l.T.Helper()
	if got := l.log(payment); got != log {
		l.T.Errorf("%s has the events %s, want %s", payment, got, log)
	}
}

func TestPaymentsThatHaveNotMovedForLongKeepTheirLastEventOnly(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	l.observe(order.Payment, "refunded", order.Pending, order.Paid, order.Refunded)
	l.observe(order.Payment, "open", order.Pending, order.Paid)
	l.observe(order.Payout, "payout", order.Pending, order.Paid)
	l.observe(order.Payment, "single", order.Expired)
	l.compact(179 * day)
	l.want("refunded", "[1 pending 2 paid 3 refunded]")
	for range 2 { // A second copy finds nothing left to do.
		l.compact(181 * day)
		l.want("refunded", "[3 refunded]")
		l.want("open", "[2 paid]")
		l.want("payout", "[2 paid]")
		l.want("single", "[1 expired]")
	}
}

// counted is a stream that counts the messages that are asked for.
type counted struct {
	jetstream.Stream
	mu    sync.Mutex
	reads int
}

func (c *counted) GetMsg(ctx context.Context, sequence uint64, o ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	c.mu.Lock()
	c.reads++
	c.mu.Unlock()
	return c.Stream.GetMsg(ctx, sequence, o...)
}

func (c *counted) GetLastMsgForSubject(ctx context.Context, on string) (*jetstream.RawStreamMsg, error) {
	c.mu.Lock()
	c.reads++
	c.mu.Unlock()
	return c.Stream.GetLastMsgForSubject(ctx, on)
}

func TestWhatIsCompactedCostsTwoReadsAfterAStart(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	l.compact(181 * day)
	stream := &counted{Stream: l.orders}
	l.orders = stream
	l.compact(181 * day)
	empty := stream.reads
	const payments = 5
	for i := range payments {
		l.observe(order.Payment, fmt.Sprintf("p-%d", i), order.Paid, order.Refunded)
	}
	l.compact(181 * day)
	stream.reads = 0
	l.compact(181 * day)
	if stream.reads > empty+2*payments+payments { // Some are read ahead of the last event.
		t.Errorf("%d reads for %d payments, and %d for none", stream.reads, payments, empty)
	}
}

// TestNumberingGoesOnAfterCompaction uses the one way out of a final state:
// the confirmed return of a chargeback.
func TestNumberingGoesOnAfterCompaction(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	l.observe(order.Payment, "p", order.Pending, order.Paid, order.ChargedBack)
	l.compact(181 * day)
	l.want("p", "[3 charged_back]")
	l.observe(order.Payment, "p", order.Paid)
	await(t, order.Standard.Return)
	l.observe(order.Payment, "p", order.Paid)
	l.want("p", "[3 charged_back 4 paid]")
	l.want("p", "[3 charged_back 4 paid]")
	l.observe(order.Payment, "p", order.Refunded)
	l.want("p", "[3 charged_back 4 paid 5 refunded]")
	l.compact(181 * day)
	l.want("p", "[5 refunded]")
}

// await lets a span of the broker's time pass, which nothing can turn.
func await(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

func TestWhatAConsumerHasNotAcknowledgedIsNotCompacted(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	l.observe(order.Payment, "first", order.Pending, order.Paid)
	l.observe(order.Payment, "second", order.Pending, order.Paid)
	consumer := func(name, filter string) jetstream.Consumer {
		c, err := l.orders.CreateConsumer(l.Ctx, jetstream.ConsumerConfig{Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy})
		l.Must(err)
		return c
	}
	shop := consumer("shop", "")
	consumer("refunds", subject.Filter("", "").Event(subject.Any, order.Refunded)) // Idle: its filter has let nothing through.
	acknowledge := func() {
		m, err := shop.Next(jetstream.FetchMaxWait(10 * time.Second))
		l.Must(err)
		l.Must(m.DoubleAck(l.Ctx))
	}
	round := l.round()
	want := func(ahead time.Duration, first, second string) {
		l.T.Helper()
		round(ahead)
		l.want("first", first)
		l.want("second", second)
	}
	acknowledge()
	want(181*day, "[1 pending 2 paid]", "[1 pending 2 paid]")
	acknowledge()
	want(181*day, "[2 paid]", "[1 pending 2 paid]")
	acknowledge()
	want(181*day, "[2 paid]", "[1 pending 2 paid]")
	acknowledge()
	want(179*day, "[2 paid]", "[1 pending 2 paid]")
	want(181*day, "[2 paid]", "[2 paid]")
}

// A sequence of the stream that is gone names another event of the new one.
func TestEventsOfAStreamThatWasCreatedAgainAreCompacted(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	round := l.round()
	l.observe(order.Payment, "gone", order.Pending, order.Paid, order.Refunded)
	round(181 * day)
	l.Recreate(subject.Orders)
	l.observe(order.Payment, "p", order.Pending, order.Paid)
	round(181 * day)
	l.want("p", "[2 paid]")
}

func TestAPaymentThatIsRemovedBeginsALogThatSaysSo(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	l.observe(order.Payment, "p", order.Pending, order.Paid)
	l.observe(order.Payment, "expired", order.Expired)
	l.compact(1000 * day)
	l.want("p", "[2 paid]") // None is removed by default.
	l.remove = 400 * day
	l.compact(399 * day)
	l.want("p", "[2 paid]")
	l.compact(401 * day)
	l.want("p", "[]")
	l.want("expired", "[]")
	l.Must(l.Stream(subject.Statuses).Purge(l.Ctx)) // Observations are kept for 30 days.
	l.observe(order.Payment, "p", order.Settled, order.Refunded)
	l.observe(order.Payment, "expired", order.Pending)
	for payment, want := range map[string][]bool{"p": {true, false}, "expired": {false}} {
		for i, e := range testbench.Documents[order.Event](l.Bench, subject.Orders, l.Unit(payment).Events()) {
			if i >= len(want) || e.Restarted != want[i] {
				t.Errorf("event %d of %s, %s, says restarted: %v", i, payment, e.Status, e.Restarted)
			}
		}
	}
}

// indexed is how many entries the index of orders has.
func (l *ledger) indexed() uint64 {
	l.T.Helper()
	return l.Stream(subject.OrderPayments).CachedInfo().State.Msgs
}

func TestAPaymentThatIsRemovedLeavesTheIndexOfOrders(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	l.observe(order.Payment, "p", order.Pending, order.Paid)
	l.observe(order.Payment, "q", order.Paid)
	l.compact(1000 * day)
	if got := l.indexed(); got != 2 {
		t.Fatalf("after compaction the index has %d entries, want 2", got)
	}
	l.remove = 400 * day
	l.compact(401 * day)
	if got := l.indexed(); got != 0 {
		t.Errorf("after the removal the index has %d entries", got)
	}
}

// appending is a stream to which an event is appended at a moment of a removal.
type appending struct {
	jetstream.Stream
	before, after func()
}

func (a *appending) Purge(ctx context.Context, opts ...jetstream.StreamPurgeOpt) error {
	if a.before != nil {
		a.before()
	}
	err := a.Stream.Purge(ctx, opts...)
	if a.after != nil {
		a.after()
	}
	return err
}

func TestAPaymentThatMovesDuringItsRemovalStaysInTheIndex(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(a *appending, move func()){
		"before its events are removed": func(a *appending, move func()) { a.before = move },
		"after":                         func(a *appending, move func()) { a.after = move },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t)
			l.observe(order.Payment, "p", order.Pending, order.Paid)
			l.compact(401 * day)
			stream := &appending{Stream: l.orders}
			at(stream, func() {
				if stream.after != nil {
					l.Must(l.Stream(subject.Statuses).Purge(l.Ctx)) // Observations are kept for 30 days.
				}
				l.observe(order.Payment, "p", order.Settled)
			})
			l.orders, l.remove = stream, 400*day
			l.compact(401 * day)
			if l.log("p") == "[]" || l.indexed() != 1 {
				t.Errorf("with the events %s the index has %d entries", l.log("p"), l.indexed())
			}
		})
	}
}

// What is removed with the early events must not leave silently, and what cannot
// be read stops no round.
func TestEventThatDoesNotDecodeIsReportedBeforeItIsCompacted(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plant := func(payment string) uint64 {
		ack, err := l.JS.Publish(l.Ctx, l.Unit(payment).Event(payment, order.Refunded), []byte("{"))
		l.Must(err)
		return ack.Sequence
	}
	l.observe(order.Payment, "between", order.Paid)
	between := plant("between")
	l.observe(order.Payment, "between", order.Refunded)
	l.observe(order.Payment, "last", order.Paid, order.Refunded)
	last := plant("last")
	l.observe(order.Payment, "behind", order.Paid, order.Refunded)
	l.compact(181 * day)
	l.want("between", "[2 refunded]")
	l.want("behind", "[2 refunded]")
	if !slices.Contains(l.unreadable, between) || !slices.Contains(l.unreadable, last) || len(slices.Compact(slices.Sorted(slices.Values(l.unreadable)))) != 2 {
		t.Errorf("%v are reported, want %d and %d", l.unreadable, between, last)
	}
	if first, err := l.orders.GetMsg(l.Ctx, 1, jetstream.WithGetMsgSubject(l.Unit("last").Events())); err != nil || first.Sequence >= last {
		t.Errorf("the payment whose last event does not decode was compacted: %v", err)
	}
}

// The last event of such a payment does not say that money was captured once.
func TestACorrectionKeepsTheEventsBeforeIt(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	l.spans = order.Standard.Scaled(600)
	l.observe(order.Payment, "p", order.Pending, order.Canceled, order.Paid)
	await(t, l.spans.Correction)
	l.observe(order.Payment, "p", order.Paid)
	want := l.log("p")
	last := testbench.Documents[order.Event](l.Bench, subject.Orders, l.Unit("p").Events())
	if e := last[len(last)-1]; !e.Correction {
		t.Fatalf("%s ends with no correction", want)
	}
	l.compact(181 * day)
	l.want("p", want)
}
