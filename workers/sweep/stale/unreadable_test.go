package stale_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// scribble parks half a document that comes due long after every test.
func (r *rig) scribble(payment string) {
	r.T.Helper()
	place := r.Tokens.Waiting("sandbox", "default", payment)
	m := nats.NewMsg(place.Parked())
	m.Data = []byte("{")
	m.Header.Set("Nats-Schedule", "@at 2099-01-02T03:04:05Z")
	m.Header.Set("Nats-Schedule-Target", place.Due())
	_, err := r.JS.PublishMsg(r.Ctx, m)
	r.Must(err)
}

func TestParkedLookUpThatDoesNotDecodeStopsNoRound(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.scribble("broken")
	r.events("broken", true, order.Paid)
	r.events("behind", true, order.Paid)
	r.clock.Turn(30 * time.Hour)
	r.Must(r.sweeper(r.JS).Round(r.Ctx))
	if r.parked("behind") == nil {
		t.Error("the payment behind it was not made due")
	}
}

// Its next look-up may be the sweep's own.
func TestParkedLookUpThatDoesNotDecodeIsNoWork(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.scribble("broken")
	r.events("broken", true, order.Paid)
	r.clock.Turn(30 * time.Hour)
	r.Must(r.sweeper(r.JS).Round(r.Ctx))
	if p := r.parked("broken"); p == nil || p.Cause != order.CauseSweep {
		t.Errorf("parked is %+v", p)
	}
}

// It may have stood for the notification, but nobody can tell.
func TestOrphanBehindAParkedLookUpThatDoesNotDecodeComesDue(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.scribble("p")
	sequence := r.notify("p")
	judged, err := r.sweeper(r.JS).Unprocessed(r.Ctx, "sandbox", sequence, time.Now().Add(time.Minute))
	r.Must(err)
	if p := r.parked("p"); judged != sequence || p == nil || p.Covers != sequence || p.Notification != "n-p" {
		t.Errorf("judged up to %d of %d, and parked is %+v", judged, sequence, p)
	}
}

// plantEvent stores what is no event in the log of a payment.
func (r *rig) plantEvent(payment, status, body string) uint64 {
	r.T.Helper()
	ack, err := r.JS.Publish(r.Ctx, r.Unit(payment).Event(payment, order.Status(status)), []byte(body))
	r.Must(err)
	return ack.Sequence
}

// reported wants letters of sweep about messages of ORDERS.
func (r *rig) reported(payment string, sequences ...uint64) {
	r.T.Helper()
	dead, err := deadletter.Open(r.Ctx, r.JS)
	r.Must(err)
	letters, err := dead.Latest(r.Ctx, r.Unit(payment).DeadLetter("ours", "sweep"))
	r.Must(err)
	var got []uint64
	for _, l := range letters {
		if l.Stream == subject.Orders {
			got = append(got, l.DeadLetter.Sequence)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, sequences) {
		r.T.Errorf("letters of %s are about %v, want %v", payment, got, sequences)
	}
}

// An event that nobody can read must not hide a payment that is not final, nor
// stop the look at the payments behind it.
func TestEventThatDoesNotDecodeIsReportedOnceAndHidesNoPayment(t *testing.T) {
	t.Parallel()
	for place, plant := range map[string]func(*rig) []uint64{
		"last": func(r *rig) []uint64 {
			r.events("p", true, order.Paid)
			return []uint64{r.plantEvent("p", "paid", "{"), r.plantEvent("p", "a_word_of_tomorrow", "")}
		},
		"first": func(r *rig) []uint64 {
			planted := r.plantEvent("p", "paid", "\x00")
			r.events("p", true, order.Paid)
			return []uint64{planted}
		},
		"between": func(r *rig) []uint64 {
			r.events("p", true, order.Pending)
			planted := r.plantEvent("p", "paid", "[1]")
			r.append("p", order.Pending, order.Paid)
			return []uint64{planted}
		},
	} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			t.Cleanup(r.Stop) // Its own check at the end wants events only.
			planted := plant(r)
			r.events("behind", true, order.Paid)
			r.clock.Turn(30 * time.Hour)
			for range 2 { // The second copy remembers nothing.
				s := r.sweeper(r.JS)
				r.Must(s.Round(r.Ctx))
				r.Must(s.Round(r.Ctx))
			}
			r.reported("p", planted...)
			for _, payment := range []string{"p", "behind"} {
				if p := r.parked(payment); p == nil || p.Cause != order.CauseSweep {
					t.Errorf("parked for %s is %+v", payment, p)
				}
			}
		})
	}
}

// It may be a stranger's, so it does not show that the notification was answered.
func TestEventThatDoesNotDecodeIsNoTraceOfANotification(t *testing.T) {
	t.Parallel()
	r := setup(t)
	t.Cleanup(r.Stop) // As above.
	sequence := r.notify("p")
	r.plantEvent("p", "paid", "{")
	_, err := r.sweeper(r.JS).Unprocessed(r.Ctx, "sandbox", sequence, time.Now().Add(time.Minute))
	r.Must(err)
	if got := r.stands("p"); got != sequence {
		t.Errorf("what is made due stands for %d, want %d", got, sequence)
	}
}

// A document that decodes and is not what its subject says blocks no purge.
func TestNotificationOfAnotherPaymentIsJudged(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, body := range []string{"{}", "null", `{"provider":"sandbox","account":"default","payment":"another"}`} {
		ack, err := r.JS.Publish(r.Ctx, r.Unit("p").Notification(), []byte(body))
		r.Must(err)
		judged, err := r.sweeper(r.JS).Unprocessed(r.Ctx, "sandbox", ack.Sequence, time.Now().Add(time.Minute))
		if err != nil || judged != ack.Sequence {
			t.Errorf("%s: judged up to %d of %d, error %v", body, judged, ack.Sequence, err)
		}
	}
}
