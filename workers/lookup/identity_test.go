package lookup_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
)

// ids are the ids of the payment's dead letters, in order.
func (r *rig) ids() (all []string) {
	r.T.Helper()
	for _, l := range r.deadLetters() {
		if l.Payment == "p" {
			all = append(all, l.ID)
		}
	}
	return all
}

// forget waits until the duplicate window of DEAD_LETTERS is over.
func (r *rig) forget() {
	r.T.Helper()
	r.ForgetIDs(subject.DeadLetters, r.Tokens.Unit("beeteller", "default", "other").DeadLetter("data", "test"), record.DeadLetter{
		ID: "NOTIFICATIONS-1", Class: record.ClassData, Stage: "test", Provider: "beeteller", Account: "default", Payment: "other",
		Cause: "a probe", LastAnswer: "none", Stream: subject.Notifications, Sequence: 1, Next: "nothing", At: time.Now().UTC(),
	})
}

// mark stores an operator's decision about the dead letter with an id.
func (r *rig) mark(id string, state record.State) {
	r.T.Helper()
	dead, err := deadletter.Open(r.Ctx, r.JS)
	r.Must(err)
	var letter deadletter.Entry
	err = dead.Each(r.Ctx, "dead.>", 1, func(l deadletter.Entry) error {
		if l.ID == id {
			letter = l
		}
		return nil
	})
	if err == nil {
		err = dead.Mark(r.Ctx, letter, state, "ana@desk", time.Now())
	}
	r.Must(err)
}

// A webhook of an unknown type has a dead letter of its own, which says nothing of the
// payment's scheduled look-up.
func TestDeadLetterOfUnknownTypeHidesNoOther(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	asked := r.notify("p")
	r.handle(asked)
	unknown := r.store(record.Notification{Payment: "p", Kind: order.Payment, Unknown: "NEW_THING"})
	r.handle(unknown)
	for range r.worker.Policy.NotFound {
		r.fire("p")
	}
	want := []string{fmt.Sprintf("NOTIFICATIONS-%d", unknown.Sequence), fmt.Sprintf("NOTIFICATIONS-%d", asked.Sequence)}
	deadLetters := r.deadLetters()
	if got := r.ids(); !slices.Equal(got, want) {
		t.Fatalf("dead letters are %v, want %v", got, want)
	}
	if deadLetters[0].Covers != 0 || deadLetters[1].Covers != asked.Sequence || deadLetters[1].LastAnswer != "not_found" {
		t.Errorf("dead letters are %+v", deadLetters)
	}
}

// A recheck's or an operator's dead letter is about itself: the one of the notification
// that it covers was stored and marked before.
func TestLaterLookUpHasItsOwnDeadLetter(t *testing.T) {
	t.Parallel()
	for _, cause := range []order.Cause{order.CauseOperator, order.CauseSweep, order.CauseRecheck} {
		t.Run(string(cause), func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			r.fails(http.StatusNotFound)
			m := r.notify("p")
			r.handle(m)
			for range r.worker.Policy.NotFound {
				r.fire("p")
			}
			first := fmt.Sprintf("NOTIFICATIONS-%d", m.Sequence)
			r.mark(first, record.Discarded)
			if err := r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
				Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Cause: cause, Reason: "test", DueAt: time.Now().Add(time.Hour),
			}); err != nil {
				t.Fatal(err)
			}
			for range len(r.worker.Policy.NotFound) + 1 {
				r.fire("p")
			}
			deadLetters := r.deadLetters()
			if len(deadLetters) != 3 || deadLetters[2].ID == first || deadLetters[2].Stream != "LOOKUP_RETRIES" || deadLetters[2].Covers != m.Sequence {
				t.Errorf("dead letters are %+v", deadLetters)
			}
		})
	}
}

// Payloads are stored in order by any handled message, and each unreadable one has one
// dead letter, however often it is read.
func TestUnreadablePayloadIsDeadLetteredOnce(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "beeteller")
	payload := func(fields map[string]string) *testbench.Delivered {
		return r.store(record.Notification{Payment: "p", Order: "ref", Kind: order.Payout, Fields: fields})
	}
	var want []string
	for range 4 {
		m := payload(nil)
		want = append(want, fmt.Sprintf("NOTIFICATIONS-%d", m.Sequence))
		r.handle(m)
		r.handle(m)
	}
	if got := r.ids(); !slices.Equal(got, want) {
		t.Errorf("dead letters are %v, want %v", got, want)
	}
	late, later := payload(nil), payload(nil)
	paid := payload(map[string]string{"status": "PAID"})
	r.forget()
	for _, m := range []*testbench.Delivered{paid, late, later} {
		r.handle(m)
	}
	want = append(want, fmt.Sprintf("NOTIFICATIONS-%d", late.Sequence), fmt.Sprintf("NOTIFICATIONS-%d", later.Sequence))
	if got := r.ids(); !slices.Equal(got, want) {
		t.Errorf("dead letters are %v, want %v", got, want)
	}
	if seen := r.observations("p"); len(seen) != 1 || seen[0].Status != order.Paid {
		t.Errorf("observations are %+v", seen)
	}
}

func TestDiscardedPayloadIsNotDeadLetteredAgain(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "beeteller")
	for i := range 3 {
		m := r.store(record.Notification{Payment: "p", Order: "ref", Kind: order.Payout})
		r.handle(m)
		if i == 0 {
			r.mark(fmt.Sprintf("NOTIFICATIONS-%d", m.Sequence), record.Discarded)
		}
	}
	open := map[string]bool{}
	for _, l := range r.deadLetters() {
		open[l.ID] = l.State == record.Open
	}
	if open["NOTIFICATIONS-1"] || len(open) != 3 {
		t.Errorf("open are %v", open)
	}
}

// An answer's recheck may have been purged with a schedule that the broker was
// delivering: the delivered look-up is made again.
func TestLookUpDueDuringItsAnswerIsMadeAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	m := r.notify("p")
	r.handle(m)
	fired := record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: m.Sequence,
		Cause: order.CauseNotification, Reason: "transport", Attempts: 1, DueAt: time.Now().Add(-time.Minute),
	}
	entry := r.parked("p")
	entry.Sequence, entry.Parked = entry.Sequence+100, fired
	r.says("refunded", 10000, 10000)
	own := entry
	own.Parked.Notification = r.last("p").Observation.Notification
	r.due(own)
	if got := r.lookups("p"); got != 1 {
		t.Errorf("one whose own answer it is asked again: %d look-ups", got)
	}
	r.due(entry)
	if got := r.lookups("p"); got != 2 {
		t.Errorf("%d look-ups, want 2", got)
	}
	seen := r.observations("p")
	if last := seen[len(seen)-1]; len(seen) != 2 || last.Cause != order.CauseRecheck || last.Status != order.Refunded {
		t.Errorf("observations are %+v", seen)
	}
}

// The same if the look-up fails, and the answer was stored while it was made.
func TestLookUpThatFailsDuringAnotherAnswerIsMadeAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	m := r.notify("p")
	r.script(func(payment string, times int) (int, string) {
		if times > 1 {
			return http.StatusOK, state(payment, "refunded", 10000, 10000)
		}
		o := order.Observation{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Notification: "another",
			Status: order.Paid, ProviderStatus: "paid", Confirmed: true, Covers: m.Sequence,
		}
		if _, err := r.statuses.Append(r.Ctx, r.Unit(payment), r.last(payment), o, ""); err != nil {
			t.Errorf("append: %v", err)
		}
		return http.StatusBadGateway, ""
	})
	entry := r.parked("p")
	entry.Sequence, entry.Parked = 100, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: m.Sequence, Notification: "own",
		Cause: order.CauseNotification, Reason: "transport", Attempts: 1, DueAt: time.Now().Add(-time.Minute),
	}
	r.due(entry)
	if p := r.parked("p").Parked; p.Cause != order.CauseRecheck || p.Attempts != 0 {
		t.Fatalf("parked is %+v", p)
	}
	r.fire("p")
	if got := r.last("p").Observation.Status; got != order.Refunded {
		t.Errorf("the last observation says %s", got)
	}
}

// An unknown payment may be known when another webhook arrives: it is looked up soon,
// not at once, and without the long waits of the first notification.
func TestSecondWebhookExpeditesAnUnknownPayment(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	r.handle(r.notify("p"))
	r.fire("p")
	r.fire("p")
	before := r.parked("p")
	if before.Parked.NotFound != 3 {
		t.Fatalf("parked is %+v", before.Parked)
	}
	fresh := r.notify("p")
	asked := r.lookups("p")
	r.handle(fresh)
	after := r.parked("p").Parked
	if got := r.lookups("p"); got != asked {
		t.Errorf("it is asked for at once")
	}
	if wait := after.DueAt.Sub(before.At); wait > 6*time.Second || wait < 4*time.Second || after.Covers != fresh.Sequence || !after.Expedited || after.NotFound != 1 {
		t.Errorf("%v after the last look %+v is due", wait, after)
	}
	r.fire("p") // It was expedited, and is not counted.
	if got := r.parked("p").Parked; got.NotFound != 1 || got.Expedited {
		t.Errorf("parked is %+v", got)
	}
	for range r.worker.Policy.NotFound {
		r.fire("p")
	}
	if got := r.ids(); len(got) != 1 || got[0] != fmt.Sprintf("NOTIFICATIONS-%d", fresh.Sequence) {
		t.Errorf("dead letters are %v", got)
	}
}

// A look-up that a limit deferred is counted, or a payment that is rate-limited again and
// again would be looked up without end.
func TestRateLimitedUnknownPaymentIsDeadLettered(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	m := r.notify("p")
	for n := 1; n <= len(r.worker.Policy.NotFound); n++ {
		r.due(retry.Entry{Sequence: uint64(n), Parked: record.ScheduledLookUp{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: m.Sequence,
			Cause: order.CauseNotification, Reason: "rate_limit", NotFound: n - 1, Expedited: true, DueAt: time.Now(),
		}})
		if got := r.parked("p").Parked; got.NotFound != n {
			t.Fatalf("after %d answers %+v is parked", n, got)
		}
	}
	last := r.parked("p").Parked
	last.Reason = "rate_limit"
	r.due(retry.Entry{Sequence: 9, Parked: last})
	if got := r.ids(); len(got) != 1 {
		t.Errorf("dead letters are %v", got)
	}
}

// A trusted payload needs no further look-up.
func TestTrustedPayloadDueLateIsSuperseded(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "beeteller")
	m := r.store(record.Notification{Payment: "p", Order: "ref", Kind: order.Payout, Fields: map[string]string{"status": "PAID"}})
	r.handle(m)
	r.due(retry.Entry{Sequence: 7, Parked: record.ScheduledLookUp{
		Provider: "beeteller", Account: "default", Kind: order.Payout, Payment: "p", Covers: m.Sequence,
		Cause: order.CauseNotification, Reason: "ours", DueAt: time.Now().Add(-time.Hour),
	}})
	if entry := r.parked("p"); entry.Sequence != 0 || len(r.deadLetters()) != 0 || len(r.observations("p")) != 1 {
		t.Errorf("parked is %+v, dead letters are %+v", entry.Parked, r.deadLetters())
	}
}

// The extra look-up has spent nothing and begins no recheck series.
func TestExtraLookUpDeadLettersNothingAnswered(t *testing.T) {
	t.Parallel()
	r := setup(t)
	m := r.notify("p")
	r.handle(m)
	first := time.Now().Add(-72 * time.Hour)
	fired := retry.Entry{Sequence: 7, Parked: record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: m.Sequence,
		Cause: order.CauseNotification, Reason: "unavailable", Attempts: len(offsets) - 1, FirstFailure: &first, DueAt: time.Now().Add(-time.Hour),
	}}
	r.fails(http.StatusServiceUnavailable)
	r.due(fired)
	if got := r.parked("p").Parked; got.Attempts != 0 || got.Cause != order.CauseRecheck || len(r.deadLetters()) != 0 {
		t.Errorf("parked is %+v, dead letters are %+v", got, r.deadLetters())
	}
	r.says("paid", 10000, 0)
	r.fire("p")
	if entry := r.parked("p"); entry.Sequence != 0 {
		t.Errorf("a series of rechecks began: %+v", entry.Parked)
	}
}

// An operator's look-up spends no attempt.
func TestOperatorsLookUpOfUnknownPaymentIsNotCounted(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	r.handle(r.notify("p"))
	r.fire("p")
	r.fire("p")
	summoned := r.parked("p").Parked
	summoned.Cause, summoned.Reason, summoned.DueAt = order.CauseOperator, string(order.CauseOperator), time.Now().Add(time.Hour)
	testbench.Must(t, r.retries.Schedule(r.Ctx, retry.Enqueue, summoned))
	r.fire("p")
	if got := r.parked("p").Parked; got.NotFound != 3 || got.Expedited || len(r.deadLetters()) != 0 {
		t.Errorf("parked is %+v, dead letters are %+v", got, r.deadLetters())
	}
}
