package lookup_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
)

// ids are those of the payment's letters, in order.
func (r *rig) ids() (all []string) {
	r.t.Helper()
	for _, l := range r.letters() {
		if l.Payment == "p" {
			all = append(all, l.ID)
		}
	}
	return all
}

// forget waits until the broker has forgotten the message ids of DEAD_LETTERS, as
// it does after minutes.
func (r *rig) forget() {
	r.t.Helper()
	stream, err := r.JS.Stream(r.ctx, subject.DeadLetters)
	if err != nil {
		r.t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.Duplicates = 100 * time.Millisecond // The least that there is.
	if _, err := r.JS.UpdateStream(r.ctx, config); err != nil {
		r.t.Fatal(err)
	}
	body, err := json.Marshal(record.DeadLetter{
		ID: "NOTIFICATIONS-1", Class: record.ClassData, Stage: "test", Provider: "beeteller", Account: "default", Payment: "other",
		Cause: "a probe", LastAnswer: "none", Stream: subject.Notifications, Sequence: 1, Next: "nothing", At: time.Now().UTC(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	on := r.tokens.Unit("beeteller", "default", "other").DeadLetter("data", "test")
	for stored := 0; stored < 2; { // What it takes a second time came after all the others.
		ack, err := r.JS.Publish(r.ctx, on, body, jetstream.WithMsgID("probe"))
		if err != nil {
			r.t.Fatal(err)
		}
		if !ack.Duplicate {
			stored++
		}
	}
}

// mark stores what an operator makes of the letter with an id.
func (r *rig) mark(id string, state record.State) {
	r.t.Helper()
	dead, err := deadletter.Open(r.ctx, r.JS)
	if err != nil {
		r.t.Fatal(err)
	}
	var letter deadletter.Entry
	err = dead.Each(r.ctx, "dead.>", 1, func(l deadletter.Entry) error {
		if l.ID == id {
			letter = l
		}
		return nil
	})
	if err == nil {
		err = dead.Mark(r.ctx, letter, state, "ana@desk", time.Now())
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// A webhook of an unknown type is about the same payment and has a dead letter
// of its own, which says nothing of the look-up that is parked.
func TestLetterOfAnUnknownTypeHidesNoLookUpThatIsGivenUp(t *testing.T) {
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
	want := []string{fmt.Sprintf("NOTIFICATIONS-%d", unknown.sequence), fmt.Sprintf("NOTIFICATIONS-%d", asked.sequence)}
	letters := r.letters()
	if got := r.ids(); !slices.Equal(got, want) {
		t.Fatalf("letters are %v, want %v", got, want)
	}
	if letters[0].Covers != 0 || letters[1].Covers != asked.sequence || letters[1].LastAnswer != "not_found" {
		t.Errorf("letters are %+v", letters)
	}
}

// A recheck or an operator's look-up is about itself: the letter of the
// notification that it also stands for was written and settled long ago.
func TestLookUpThatIsMadeAnewIsReportedAnew(t *testing.T) {
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
			first := fmt.Sprintf("NOTIFICATIONS-%d", m.sequence)
			r.mark(first, record.Discarded)
			if err := r.lot.Schedule(r.ctx, record.ScheduledLookUp{
				Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Cause: cause, Reason: "test", DueAt: time.Now().Add(time.Hour),
			}); err != nil {
				t.Fatal(err)
			}
			for range len(r.worker.Policy.NotFound) + 1 {
				r.fire("p")
			}
			letters := r.letters()
			if len(letters) != 3 || letters[2].ID == first || letters[2].Stream != "LOOKUP_RETRIES" || letters[2].Covers != m.sequence {
				t.Errorf("letters are %+v", letters)
			}
		})
	}
}

// Claims are written in order by whichever message is handled, and each that
// cannot be read is reported once, however often it is passed.
func TestEveryUnreadableClaimIsReportedOnce(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "beeteller")
	claim := func(fields map[string]string) *delivered {
		return r.store(record.Notification{Payment: "p", Order: "ref", Kind: order.Payout, Fields: fields})
	}
	var want []string
	for range 4 {
		m := claim(nil)
		want = append(want, fmt.Sprintf("NOTIFICATIONS-%d", m.sequence))
		r.handle(m)
		r.handle(m)
	}
	if got := r.ids(); !slices.Equal(got, want) {
		t.Errorf("letters are %v, want %v", got, want)
	}
	late, later := claim(nil), claim(nil)
	paid := claim(map[string]string{"status": "PAID"})
	r.forget()
	for _, m := range []*delivered{paid, late, later} {
		r.handle(m)
	}
	want = append(want, fmt.Sprintf("NOTIFICATIONS-%d", late.sequence), fmt.Sprintf("NOTIFICATIONS-%d", later.sequence))
	if got := r.ids(); !slices.Equal(got, want) {
		t.Errorf("letters are %v, want %v", got, want)
	}
	if seen := r.observations("p"); len(seen) != 1 || seen[0].Status != order.Paid {
		t.Errorf("observations are %+v", seen)
	}
}

func TestDiscardedClaimIsNotReportedAgain(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "beeteller")
	for i := range 3 {
		m := r.store(record.Notification{Payment: "p", Order: "ref", Kind: order.Payout})
		r.handle(m)
		if i == 0 {
			r.mark(fmt.Sprintf("NOTIFICATIONS-%d", m.sequence), record.Discarded)
		}
	}
	open := map[string]bool{}
	for _, l := range r.letters() {
		open[l.ID] = l.State == record.Open
	}
	if open["NOTIFICATIONS-1"] || len(open) != 3 {
		t.Errorf("open are %v", open)
	}
}

// What an answer led to may have been purged with a schedule that the broker
// was firing at that moment: the look-up that fired asks once more.
func TestLookUpThatFiredWhileItsAnswerWasWrittenAsksOnceMore(t *testing.T) {
	t.Parallel()
	r := setup(t)
	m := r.notify("p")
	r.handle(m)
	fired := record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: m.sequence,
		Cause: order.CauseNotification, Reason: "transport", Attempts: 1, DueAt: time.Now().Add(-time.Minute),
	}
	place := r.parked("p")
	place.Sequence, place.Parked = place.Sequence+100, fired
	r.says("refunded", 10000, 10000)
	own := place
	own.Parked.Notification = r.last("p").Observation.Notification
	r.due(own)
	if got := r.lookups("p"); got != 1 {
		t.Errorf("one whose own answer it is asked again: %d look-ups", got)
	}
	r.due(place)
	if got := r.lookups("p"); got != 2 {
		t.Errorf("%d look-ups, want 2", got)
	}
	seen := r.observations("p")
	if last := seen[len(seen)-1]; len(seen) != 2 || last.Cause != order.CauseRecheck || last.Status != order.Refunded {
		t.Errorf("observations are %+v", seen)
	}
}

// The same where the question fails, and the answer was written while it was put.
func TestLookUpThatFailedWhileAnotherAnswerWasWrittenAsksOnceMore(t *testing.T) {
	t.Parallel()
	r := setup(t)
	m := r.notify("p")
	r.script(func(payment string, times int) (int, string) {
		if times > 1 {
			return http.StatusOK, state(payment, "refunded", 10000, 10000)
		}
		o := order.Observation{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Notification: "another",
			Status: order.Paid, ProviderStatus: "paid", Confirmed: true, Covers: m.sequence,
		}
		if _, err := r.chains.Append(r.ctx, r.tokens.Unit("sandbox", "default", payment), r.last(payment), o, ""); err != nil {
			t.Errorf("append: %v", err)
		}
		return http.StatusBadGateway, ""
	})
	place := r.parked("p")
	place.Sequence, place.Parked = 100, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: m.sequence, Notification: "own",
		Cause: order.CauseNotification, Reason: "transport", Attempts: 1, DueAt: time.Now().Add(-time.Minute),
	}
	r.due(place)
	if p := r.parked("p").Parked; p.Cause != order.CauseRecheck || p.Attempts != 0 {
		t.Fatalf("parked is %+v", p)
	}
	r.fire("p")
	if got := r.last("p").Observation.Status; got != order.Refunded {
		t.Errorf("the last observation says %s", got)
	}
}

// A payment that is unknown by now may be known when it is told of again: it is
// asked for soon, not at once, and the long waits of the first notification are
// not those of the second.
func TestUnknownPaymentThatIsToldOfAgainIsAskedForSoon(t *testing.T) {
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
	if wait := after.DueAt.Sub(before.At); wait > 6*time.Second || wait < 4*time.Second || after.Covers != fresh.sequence || !after.Expedited || after.NotFound != 1 {
		t.Errorf("%v after the last look %+v is due", wait, after)
	}
	r.fire("p") // It came early, and is not counted.
	if got := r.parked("p").Parked; got.NotFound != 1 || got.Expedited {
		t.Errorf("parked is %+v", got)
	}
	for range r.worker.Policy.NotFound {
		r.fire("p")
	}
	if got := r.ids(); len(got) != 1 || got[0] != fmt.Sprintf("NOTIFICATIONS-%d", fresh.sequence) {
		t.Errorf("letters are %v", got)
	}
}

// What comes early for another reason than that somebody wished so is counted,
// or a payment that keeps meeting a full line would be asked for for ever.
func TestUnknownPaymentInAFullLineIsGivenUp(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	m := r.notify("p")
	for n := 1; n <= len(r.worker.Policy.NotFound); n++ {
		r.due(retry.Entry{Sequence: uint64(n), Parked: record.ScheduledLookUp{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: m.sequence,
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
		t.Errorf("letters are %v", got)
	}
}

// Where the webhook is believed there is nobody to ask once more.
func TestBelievedLookUpThatFiredLateIsSuperseded(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "beeteller")
	m := r.store(record.Notification{Payment: "p", Order: "ref", Kind: order.Payout, Fields: map[string]string{"status": "PAID"}})
	r.handle(m)
	r.due(retry.Entry{Sequence: 7, Parked: record.ScheduledLookUp{
		Provider: "beeteller", Account: "default", Kind: order.Payout, Payment: "p", Covers: m.sequence,
		Cause: order.CauseNotification, Reason: "ours", DueAt: time.Now().Add(-time.Hour),
	}})
	if place := r.parked("p"); place.Sequence != 0 || len(r.letters()) != 0 || len(r.observations("p")) != 1 {
		t.Errorf("parked is %+v, letters are %+v", place.Parked, r.letters())
	}
}

// The extra look has spent nothing and begins no series of its own.
func TestAskingOnceMoreGivesUpNothingThatIsAnswered(t *testing.T) {
	t.Parallel()
	r := setup(t)
	m := r.notify("p")
	r.handle(m)
	first := time.Now().Add(-72 * time.Hour)
	fired := retry.Entry{Sequence: 7, Parked: record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: m.sequence,
		Cause: order.CauseNotification, Reason: "unavailable", Attempts: len(offsets) - 1, FirstFailure: &first, DueAt: time.Now().Add(-time.Hour),
	}}
	r.fails(http.StatusServiceUnavailable)
	r.due(fired)
	if got := r.parked("p").Parked; got.Attempts != 0 || got.Cause != order.CauseRecheck || len(r.letters()) != 0 {
		t.Errorf("parked is %+v, letters are %+v", got, r.letters())
	}
	r.says("paid", 10000, 0)
	r.fire("p")
	if place := r.parked("p"); place.Sequence != 0 {
		t.Errorf("a series of rechecks began: %+v", place.Parked)
	}
}

// An operator who asks again spends nothing of what the payment has left.
func TestOperatorsLookForAnUnknownPaymentIsNotCounted(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	r.handle(r.notify("p"))
	r.fire("p")
	r.fire("p")
	summoned := r.parked("p").Parked
	summoned.Cause, summoned.Reason, summoned.DueAt = order.CauseOperator, string(order.CauseOperator), time.Now().Add(time.Hour)
	if err := r.lot.Enqueue(r.ctx, summoned); err != nil {
		t.Fatal(err)
	}
	r.fire("p")
	if got := r.parked("p").Parked; got.NotFound != 3 || got.Expedited || len(r.letters()) != 0 {
		t.Errorf("parked is %+v, letters are %+v", got, r.letters())
	}
}
