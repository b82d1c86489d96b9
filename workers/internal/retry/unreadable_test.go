package retry_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/nats-io/nats.go"

	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

// writeHalf stores half a document as the schedule.
func (r *rig) writeHalf() { r.plant(`{"provider":"elsewhere","covers":9`) }

// plant stores any text as the schedule.
func (r *rig) plant(body string) {
	r.T.Helper()
	entry := r.Tokens.Waiting("sandbox", "default", "p")
	m := nats.NewMsg(entry.Parked())
	m.Data = []byte(body)
	m.Header.Set("Nats-Schedule", "@at 2099-01-02T03:04:05.678901234Z")
	m.Header.Set("Nats-Schedule-Target", entry.Due())
	_, err := r.JS.PublishMsg(r.Ctx, m)
	r.Must(err)
}

func TestUnreadableEntryHasPaymentAndDueTime(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.writeHalf()
	want := record.ScheduledLookUp{Provider: "sandbox", Account: "default", Payment: "p", DueAt: far(0)}
	if got := r.read("p"); got.Sequence == 0 || !got.Unreadable || !reflect.DeepEqual(got.Parked, want) {
		t.Errorf("half a document reads as %+v", got)
	}
	r.Must(r.store.Cancel(r.Ctx, r.read("p")))
	if got := r.read("p"); got.Sequence != 0 {
		t.Errorf("it cannot be cancelled: %+v", got)
	}
}

// The payment that it names is where a look-up would be scheduled.
func TestEntryOfAnotherPaymentIsReplaced(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"{}", "null", `{"provider":"sandbox","account":"default","payment":"q","covers":9}`} {
		r := setup(t)
		r.plant(body)
		if !r.read("p").Unreadable {
			t.Errorf("%s is what is parked", body)
		}
		p := scheduled("p", 7, 1)
		r.Must(r.store.Schedule(r.Ctx, retry.Fresh, p))
		r.holds("p", p)
	}
}

// Else the payment would be blocked until the broker delivers it.
func TestUnreadableEntryIsReplaced(t *testing.T) {
	t.Parallel()
	for _, as := range []retry.Request{retry.Fresh, retry.Deferred, retry.Retry, retry.Recheck, retry.Confirmation, retry.Enqueue} {
		t.Run(string(as), func(t *testing.T) {
			t.Parallel()
			for _, stands := range []uint64{0, 7} {
				r := setup(t)
				r.writeHalf()
				p := scheduled("p", stands, 1)
				r.Must(r.store.Schedule(r.Ctx, as, p))
				p.Expedited = as == retry.Deferred || as == retry.Enqueue
				r.holds("p", p)
			}
		})
	}
}

func TestUnreadableEntryIsNotExpedited(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.writeHalf()
	before := r.read("p")
	if stored, err := r.store.ScheduleOver(r.Ctx, before, retry.Expedite, before.Parked); stored.Sequence != 0 || !errors.Is(err, retry.ErrUnreadable) {
		t.Errorf("%+v, %v", stored, err)
	}
	if got := r.read("p"); got.Sequence != before.Sequence {
		t.Errorf("it became %+v", got)
	}
}
