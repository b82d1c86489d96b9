package lookup_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
)

func TestAnswerBecomesTheObservation(t *testing.T) {
	t.Parallel()
	r := setup(t)
	m := r.store(record.Notification{
		Payment: "p", Kind: order.Payment, Order: "forged", Fields: map[string]string{"status": "refunded"},
	})
	r.handle(m)
	seen := r.observations("p")
	if len(seen) != 1 {
		t.Fatalf("%d observations, want 1", len(seen))
	}
	o := seen[0]
	if o.Status != order.Paid || o.Order != "o-p" || !o.Confirmed || o.Covers != m.Sequence || o.Amount.Value != 10000 {
		t.Errorf("observation is %+v", o)
	}
}

// A failed first look-up must not lose the trace.
func TestTraceOutlivesARetry(t *testing.T) {
	t.Parallel()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r := setup(t)
	r.script(func(_ string, times int) (int, string) {
		if times <= 2 {
			return http.StatusBadGateway, ""
		}
		return http.StatusOK, state("p", "paid", 10000, 0)
	})
	r.handle(r.store(record.Notification{Payment: "p", Kind: order.Payment, Trace: "00-earlier"}))
	r.handle(r.store(record.Notification{Payment: "p", Kind: order.Payment, Trace: trace}))
	if got := r.fire("p"); got.Trace != trace {
		t.Errorf("parked with the trace %q", got.Trace)
	}
	if got := r.traces("p"); len(got) != 1 || got[0] != trace {
		t.Errorf("the observation has the trace %q", got)
	}
}

// A scheduled look-up that covers a later notification has that one's trace, even
// without another look-up.
func TestLaterNotificationBringsItsTrace(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	r.handle(r.store(record.Notification{Payment: "p", Kind: order.Payment, Trace: "00-earlier"}))
	r.handle(r.store(record.Notification{Payment: "p", Kind: order.Payment, Trace: "00-later"}))
	if got := r.parked("p").Parked; got.Trace != "00-later" || r.lookups("p") != 1 {
		t.Errorf("after %d look-ups it is parked with the trace %q", r.lookups("p"), got.Trace)
	}
}

func TestCoveredNotificationIsSuperseded(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first, second, third := r.notify("p"), r.notify("p"), r.notify("p")
	r.handle(second) // Its look-up begins after all three were stored.
	r.handle(first)
	r.handle(third)
	r.handle(second)
	if got := r.lookups("p"); got != 1 {
		t.Errorf("%d look-ups, want 1", got)
	}
	if got := r.last("p").Covers(); got != third.Sequence {
		t.Errorf("covers %d, want %d", got, third.Sequence)
	}
}

func TestNotificationStoredDuringALookUpIsLookedUp(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var during *testbench.Delivered
	r.script(func(payment string, times int) (int, string) {
		if times == 1 {
			during = r.notify(payment)
			return http.StatusOK, state(payment, "authorized", 10000, 0)
		}
		return http.StatusOK, state(payment, "paid", 10000, 0)
	})
	first := r.notify("p")
	r.handle(first)
	if got := r.last("p"); got.Covers() != first.Sequence || got.Observation.Status != order.Authorized {
		t.Fatalf("the first answer covers %d as %s", got.Covers(), got.Observation.Status)
	}
	r.handle(during)
	if got := r.last("p"); got.Covers() != during.Sequence || got.Observation.Status != order.Paid {
		t.Errorf("the second answer covers %d as %s", got.Covers(), got.Observation.Status)
	}
}

func TestConflictWithACoveringAnswerEndsTheTask(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var first *testbench.Delivered
	r.script(func(payment string, times int) (int, string) {
		if times == 1 { // Another worker stores an answer during this look-up.
			r.handle(first)
			return http.StatusOK, state(payment, "authorized", 10000, 0)
		}
		return http.StatusOK, state(payment, "paid", 10000, 0)
	})
	first = r.notify("p")
	r.handle(first)
	seen := r.observations("p")
	if len(seen) != 1 || seen[0].Status != order.Paid {
		t.Errorf("chain is %+v, want the winner's answer alone", seen)
	}
	if got := r.lookups("p"); got != 2 {
		t.Errorf("%d look-ups, want 2", got)
	}
}

func TestConflictWithAnOlderAnswerLooksUpAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	unit := r.Unit("p")
	r.script(func(payment string, times int) (int, string) {
		if times == 1 { // Another worker stores an answer for an older notification.
			o := order.Observation{
				Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment,
				Status: order.Authorized, ProviderStatus: "authorized", Confirmed: true,
			}
			if _, err := r.statuses.Append(r.Ctx, unit, r.last(payment), o, ""); err != nil {
				t.Errorf("append: %v", err)
			}
		}
		return http.StatusOK, state(payment, "paid", 10000, 0)
	})
	m := r.notify("p")
	r.handle(m)
	seen := r.observations("p")
	if len(seen) != 2 || seen[1].Status != order.Paid || seen[1].Covers != m.Sequence || r.lookups("p") != 2 {
		t.Errorf("after %d look-ups the chain is %+v", r.lookups("p"), seen)
	}
}

func TestUnknownWordIsStored(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.says("teleported", 10000, 0)
	r.handle(r.notify("p"))
	seen := r.observations("p")
	if len(seen) != 1 || seen[0].Status != "" || seen[0].ProviderStatus != "teleported" {
		t.Errorf("chain is %+v", seen)
	}
	if entry := r.parked("p"); entry.Sequence != 0 {
		t.Errorf("an unknown word parked %+v", entry.Parked)
	}
}

func TestUnknownTypeIsDeadLetteredOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	m := r.store(record.Notification{Payment: "p", Kind: order.Payment, Unknown: "BOLETO"})
	r.handle(m)
	r.handle(m)
	deadLetters := r.deadLetters()
	if len(deadLetters) != 1 || deadLetters[0].Class != record.ClassData || deadLetters[0].Sequence != m.Sequence {
		t.Errorf("dead letters are %+v", deadLetters)
	}
	if got := r.lookups("p"); got != 0 {
		t.Errorf("%d look-ups, want none", got)
	}
}

// All notifications of unknown types of an account are one unit. Their cost must not
// grow with the stored dead letters.
func TestUnknownTypesCostTheSame(t *testing.T) {
	t.Parallel()
	r := setup(t)
	read := make(chan *nats.Msg, 100)
	tap, err := r.JS.Conn().ChanSubscribe("$JS.API.STREAM.MSG.GET."+subject.DeadLetters, read)
	r.Must(err)
	reads := func() int {
		r.handle(r.store(record.Notification{Payment: "unknown", Kind: order.Payment, Unknown: "BOLETO"}))
		r.Must(r.JS.Conn().Flush())
		n := len(read)
		for range n {
			<-read
		}
		return n
	}
	first := reads()
	for range 5 {
		reads()
	}
	if last := reads(); first == 0 || last != first {
		t.Errorf("the first took %d reads of dead letters, the seventh %d", first, last)
	}
	r.Must(tap.Unsubscribe())
	if deadLetters := r.deadLetters(); len(deadLetters) != 7 {
		t.Errorf("%d dead letters, want 7", len(deadLetters))
	}
}

func TestBurstOfAHundredCausesAFewLookUps(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var last *testbench.Delivered
	for range 100 {
		last = r.notify("p")
	}
	consumer, err := r.JS.Consumer(r.Ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
	testbench.Must(t, err)
	ctx, stop := context.WithCancel(r.Ctx)
	defer stop()
	err = consume.Run(ctx, consume.Options{
		Consumer: consumer, Name: "lookup-sandbox", Concurrency: 16,
		AckWait: topology.AckWait, Grace: 5 * time.Second, Log: zap.NewNop(),
	}, func(ctx context.Context, m jetstream.Msg) error {
		err := r.worker.HandleNotification(ctx, m)
		if meta, _ := m.Metadata(); err == nil && meta.Sequence.Stream == last.Sequence {
			stop()
		}
		return err
	})
	testbench.Must(t, err)
	if got := r.lookups("p"); got < 1 || got > 3 {
		t.Errorf("100 notifications caused %d look-ups, want 1 to 3", got)
	}
	if got := r.last("p").Covers(); got != last.Sequence {
		t.Errorf("covers %d, want %d", got, last.Sequence)
	}
}

// Each notification is delivered before the next is stored, as happens while a worker
// is idle otherwise.
func TestBurstDuringTheFirstLookUpCausesOneMore(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var during []*testbench.Delivered
	r.script(func(payment string, times int) (int, string) {
		for range 20 * (2 - min(times, 2)) {
			during = append(during, r.notify(payment))
		}
		return http.StatusOK, state(payment, "paid", 10000, 0)
	})
	r.handle(r.notify("p"))
	for _, m := range during {
		testbench.Must(t, r.worker.HandleNotification(r.Ctx, m))
	}
	if got := r.lookups("p"); got != 2 {
		t.Errorf("%d look-ups, want 2", got)
	}
	if got := r.last("p").Covers(); got != during[len(during)-1].Sequence {
		t.Errorf("covers %d, want %d", got, during[len(during)-1].Sequence)
	}
}

// An earlier notification is redelivered, with none pending behind it, when a later one
// has failed and is scheduled.
func TestAnswerCoversTheCancelledLookUp(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first, second := r.notify("p"), r.notify("p")
	r.fails(http.StatusServiceUnavailable)
	r.handle(second)
	if got := r.parked("p").Parked.Covers; got != second.Sequence {
		t.Fatalf("parked for %d, want %d", got, second.Sequence)
	}
	r.says("paid", 10000, 0)
	testbench.Must(t, r.worker.HandleNotification(r.Ctx, first))
	if got, left := r.last("p").Covers(), r.parked("p").Sequence; got != second.Sequence || left != 0 {
		t.Errorf("covers %d, want %d; parked %d", got, second.Sequence, left)
	}
}

func TestRecreatedNotificationsStopTheWorker(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for range 5 {
		r.notify("other")
	}
	r.handle(r.notify("p"))
	r.Recreate(subject.Notifications)
	err := r.worker.HandleNotification(r.Ctx, r.notify("p"))
	var fatal *consume.Fatal
	if !errors.As(err, &fatal) {
		t.Errorf("a notification below covers of a recreated stream gave %v, want a fatal error", err)
	}
}

func TestShutdownDuringALookUpSpendsNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	ctx, stop := context.WithCancel(r.Ctx)
	r.script(func(payment string, _ int) (int, string) {
		stop()
		return http.StatusOK, state(payment, "paid", 10000, 0)
	})
	if err := r.worker.HandleNotification(ctx, r.notify("p")); err == nil {
		t.Error("an interrupted look-up says that it is done")
	}
	if entry := r.parked("p"); entry.Sequence != 0 || len(r.observations("p")) != 0 || len(r.deadLetters()) != 0 {
		t.Error("an interrupted look-up left something behind")
	}
}

func TestRepeatedAnswerIsRecheckedTwice(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.handle(r.notify("p"))
	if entry := r.parked("p"); entry.Sequence != 0 {
		t.Fatalf("a new word wants no recheck, but %+v is parked", entry.Parked)
	}
	r.handle(r.notify("p"))
	var waits []time.Duration
	for r.parked("p").Sequence != 0 {
		p := r.fire("p")
		if p.Cause != order.CauseRecheck {
			t.Fatalf("parked is %+v", p)
		}
		seen := r.observations("p")
		waits = append(waits, p.DueAt.Sub(seen[len(seen)-2].AnsweredAt))
	}
	if want := []time.Duration{2 * time.Second, 13 * time.Second}; !slices.Equal(waits, want) {
		t.Errorf("rechecks waited %v, want %v", waits, want)
	}
	if got := r.lookups("p"); got != 4 {
		t.Errorf("%d look-ups, want 4", got)
	}
}

func TestFinalAnswerIsNotRechecked(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.says("refunded", 10000, 10000)
	r.handle(r.notify("p"))
	r.handle(r.notify("p"))
	if entry := r.parked("p"); entry.Sequence != 0 {
		t.Errorf("a final answer parked %+v", entry.Parked)
	}
}

func TestWebhooksWithoutALookUpAreObservedInOrder(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "beeteller")
	payload := func(status string) *testbench.Delivered {
		return r.store(record.Notification{
			Payment: "p", Order: "ref", Kind: order.Payout, Trace: "00-" + status, Fields: map[string]string{"status": status, "reference": "ref"},
		})
	}
	first, second := payload("PROCESSING"), payload("PAID")
	r.handle(second)
	r.handle(first)
	seen := r.observations("p")
	if len(seen) != 2 || seen[0].Status != order.Processing || seen[1].Status != order.Paid {
		t.Fatalf("chain is %+v", seen)
	}
	if seen[0].Covers != first.Sequence || seen[1].Covers != second.Sequence || seen[1].Confirmed {
		t.Errorf("chain is %+v", seen)
	}
	if got := r.traces("p"); got[0] != "00-PROCESSING" || got[1] != "00-PAID" {
		t.Errorf("traces are %q", got)
	}
	if got := r.lookups("p"); got != 0 {
		t.Errorf("%d look-ups, want none", got)
	}
}
