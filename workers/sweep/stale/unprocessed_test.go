package stale_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
)

func TestNotificationWithoutATraceComesDue(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		trace func(r *rig, sequence uint64)
		want  bool
	}{
		{name: "no trace", trace: func(*rig, uint64) {}, want: true},
		{name: "an answer", trace: func(r *rig, sequence uint64) { r.observe("p", order.Paid, sequence) }},
		{name: "an answer to an earlier one", trace: func(r *rig, sequence uint64) { r.observe("p", order.Paid, sequence-1) }, want: true},
		{name: "an event whose observation is gone", trace: func(r *rig, _ uint64) { r.events("p", true, order.Paid) }},
		{name: "a dead letter", trace: func(r *rig, _ uint64) { r.letter("p", record.StageLookup, record.Open) }},
		{name: "one of a look-up that stood for it too", trace: func(r *rig, sequence uint64) {
			r.put("p", record.DeadLetter{ID: "LOOKUP_RETRIES-7", Stage: record.StageLookup, Stream: subject.LookupRetries, Sequence: 7, Covers: sequence + 1})
		}},
		{name: "one of a look-up for an earlier one", trace: func(r *rig, sequence uint64) {
			r.put("p", record.DeadLetter{ID: "LOOKUP_RETRIES-7", Stage: record.StageLookup, Stream: subject.LookupRetries, Sequence: 7, Covers: sequence - 1})
		}, want: true},
		{name: "one of a later webhook that nobody was asked about", trace: func(r *rig, sequence uint64) {
			r.put("p", record.DeadLetter{ID: "NOTIFICATIONS-9", Stage: record.StageLookup, Stream: subject.Notifications, Sequence: sequence + 8})
		}, want: true},
		{name: "its own, and a later one of another", trace: func(r *rig, sequence uint64) {
			r.letter("p", record.StageLookup, record.Open)
			r.put("p", record.DeadLetter{ID: "LOOKUP_RETRIES-7", Stage: record.StageLookup, Stream: subject.LookupRetries, Sequence: 7})
		}},
		{name: "the mark of its erasure", trace: func(r *rig, _ uint64) {
			until := time.Now().Add(time.Hour).UTC()
			r.Publish(r.Unit("p").Status(), order.Observation{Provider: "sandbox", Account: "default", RefusedUntil: &until})
		}},
		{name: "a discarded one", trace: func(r *rig, _ uint64) { r.letter("p", record.StageLookup, record.Discarded) }},
		{name: "a redriven one, and nothing that came of it", trace: func(r *rig, _ uint64) { r.letter("p", record.StageLookup, record.Redriven) }, want: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			sequence := r.notify("p")
			tc.trace(r, sequence)
			judged, err := r.sweeper(r.JS).Unprocessed(r.Ctx, "sandbox", sequence, time.Now().Add(time.Minute))
			r.Must(err)
			if judged != sequence {
				t.Errorf("judged up to %d, want %d", judged, sequence)
			}
			p := r.parked("p")
			if (p != nil) != tc.want {
				t.Fatalf("parked %+v, want one: %v", p, tc.want)
			}
			if p != nil && (p.Covers != sequence || p.Notification != "n-p" || p.Cause != order.CauseNotification || p.Fields["kept"] != "field" || p.Trace != "00-trace") {
				t.Errorf("parked %+v", p)
			}
		})
	}
}

// What names sequences of an earlier NOTIFICATIONS is no outcome of a notification with
// the same sequence.
func TestOutcomesOfAnEarlierStreamAreNone(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(r *rig, created time.Time){
		"observation": func(r *rig, created time.Time) {
			o := r.observation("p", order.Paid, r.clock.Now())
			o.Covers, o.NotificationsCreated = 9, created
			body, err := json.Marshal(o)
			r.Must(err)
			_, err = r.JS.Publish(r.Ctx, r.Unit("p").Status(), body)
			r.Must(err)
		},
		"dead letter": func(r *rig, created time.Time) {
			r.put("p", record.DeadLetter{
				ID: "NOTIFICATIONS-1", Stage: record.StageLookup, Stream: subject.Notifications, Sequence: 1, Covers: 9,
				Created: map[string]time.Time{subject.Notifications: created},
			})
		},
		"scheduled look-up": func(r *rig, created time.Time) {
			r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
				Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: 9, NotificationsCreated: created,
				Cause: order.CauseNotification, DueAt: time.Now().Add(time.Hour),
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			notifications, err := r.JS.Stream(r.Ctx, subject.Notifications)
			r.Must(err)
			s := r.sweeper(r.JS)
			leave(r, notifications.CachedInfo().Created)
			r.Recreate(subject.Notifications)
			r.Apply("sandbox")
			sequence := r.notify("p")
			_, err = s.Unprocessed(r.Ctx, "sandbox", sequence, time.Now().Add(time.Minute))
			r.Must(err)
			if p := r.parked("p"); p == nil || p.Covers != sequence || !p.NotificationsCreated.After(notifications.CachedInfo().Created) {
				t.Errorf("scheduled is %+v", p)
			}
		})
	}
}

func TestParkedNotificationIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := setup(t)
	sequence := r.notify("p")
	r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p",
		Covers: sequence, Cause: order.CauseNotification, Attempts: 3, DueAt: time.Now().Add(time.Hour),
	}))
	_, err := r.sweeper(r.JS).Unprocessed(r.Ctx, "sandbox", sequence, time.Now().Add(time.Minute))
	r.Must(err)
	if p := r.parked("p"); p.Attempts != 3 {
		t.Errorf("the parked look-up became %+v", p)
	}
}

func TestOnlySettledNotificationsAreJudged(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first := r.notify("old")
	between := time.Now()
	second := r.notify("young")
	s := r.sweeper(r.JS)
	judged, err := s.Unprocessed(r.Ctx, "sandbox", second, between)
	r.Must(err)
	if judged != first || r.parked("old") == nil || r.parked("young") != nil {
		t.Errorf("judged up to %d, want %d", judged, first)
	}
	judged, err = s.Unprocessed(r.Ctx, "sandbox", first, time.Now().Add(time.Hour))
	r.Must(err)
	if judged != first || r.parked("young") != nil {
		t.Errorf("judged up to %d, above the floor %d", judged, first)
	}
	judged, err = s.Unprocessed(r.Ctx, "sandbox", second, time.Now().Add(time.Hour))
	r.Must(err)
	if judged != second || r.parked("young") == nil {
		t.Errorf("judged up to %d, want %d", judged, second)
	}
}

// Between its firing and its end a look-up has no trace but the notification,
// if what was parked for that took its place too late.
func TestNotificationOfALookUpOnItsWayIsNotJudgedYet(t *testing.T) {
	t.Parallel()
	r := setup(t)
	before, sequence, behind := r.notify("other"), r.notify("p"), r.notify("q")
	p := record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p",
		Covers: sequence, Cause: order.CauseNotification, DueAt: time.Now().Add(time.Second),
	}
	r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, p))
	s := r.sweeper(r.JS)
	judge := func(want uint64) {
		t.Helper()
		judged, err := s.Unprocessed(r.Ctx, "sandbox", behind, time.Now().Add(time.Minute))
		r.Must(err)
		if judged != want {
			t.Errorf("judged up to %d, want %d", judged, want)
		}
	}
	judge(before) // It is about to fire.
	if r.parked("q") == nil {
		t.Error("nothing behind it is judged")
	}
	due, err := r.JS.Consumer(r.Ctx, subject.LookupRetries, subject.LookupDueConsumer("sandbox"))
	r.Must(err)
	m, err := due.Next(jetstream.FetchMaxWait(30 * time.Second))
	r.Must(err)
	judge(before) // It has fired and is being handled.
	p.DueAt = time.Now().Add(time.Hour)
	r.Must(r.retries.Schedule(r.Ctx, retry.Retry, p))
	r.Must(m.DoubleAck(r.Ctx))
	judge(behind)
}

// What is parked for an earlier notification is no trace of a later one, nor is
// a dead letter about the earlier one.
func TestObservationOfAnEarlierNotificationIsNoTrace(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first, second := r.notify("p"), r.notify("p")
	r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p",
		Covers: first, Cause: order.CauseNotification, Attempts: 3, DueAt: time.Now().Add(time.Hour),
	}))
	_, err := r.sweeper(r.JS).Unprocessed(r.Ctx, "sandbox", second, time.Now().Add(time.Minute))
	r.Must(err)
	if p := r.parked("p"); p.Covers != second || p.Attempts != 3 {
		t.Errorf("parked is %+v, want one for %d with all attempts", p, second)
	}

	third := r.notify("q")
	body, err := json.Marshal(record.DeadLetter{
		ID: "NOTIFICATIONS-1", Class: record.ClassData, Stage: record.StageLookup, Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "q",
		Cause: "unknown", LastAnswer: "not_found", Stream: subject.Notifications, Sequence: third - 1, Next: "redrive", At: time.Now().UTC(),
	})
	r.Must(err)
	_, err = r.JS.Publish(r.Ctx, r.Unit("q").DeadLetter(string(record.ClassData), record.StageLookup), body)
	r.Must(err)
	_, err = r.sweeper(r.JS).Unprocessed(r.Ctx, "sandbox", third, time.Now().Add(time.Minute))
	r.Must(err)
	if p := r.parked("q"); p == nil || p.Covers != third {
		t.Errorf("parked is %+v, want one for %d", p, third)
	}
}

// To find that a quiet provider has no further notification, the broker walks over those of
// all other providers.
func TestQuietProviderIsNotAskedFor(t *testing.T) {
	t.Parallel()
	r := setup(t)
	floor := r.notify("p")
	r.observe("p", order.Paid, floor)
	young := r.notify("q")
	r.observe("q", order.Paid, young)
	var asked []uint64
	s := r.sweeper(marking{r.JS, func(sequence uint64) { asked = append(asked, sequence) }})
	judge := func(upTo uint64, before time.Time, want uint64, wantAsked ...uint64) {
		t.Helper()
		asked = nil
		judged, err := s.Unprocessed(r.Ctx, "sandbox", upTo, before)
		r.Must(err)
		if judged != want || !slices.Equal(asked, wantAsked) {
			t.Errorf("judged up to %d, want %d; asked for those from %v on, want %v", judged, want, asked, wantAsked)
		}
	}
	later := time.Now().Add(time.Minute)
	judge(floor, later, floor, 1)
	judge(floor, later, floor)
	r.JS.Publish(r.Ctx, "notifications.picpay.default.p", []byte("{}")) //nolint:errcheck // The last one is checked.
	last := r.notify("r")
	r.observe("r", order.Paid, last)
	raw, err := r.Stream(subject.Notifications).GetMsg(r.Ctx, last)
	r.Must(err)
	judge(last, raw.Time, last-1, floor+1, young+1) // The last one is too young, and is where the next call begins.
	judge(last, later, last, last)
}
