package retry_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/nats-io/nats.go"

	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

// scribble parks half a document.
func (r *rig) scribble() { r.plant(`{"provider":"elsewhere","covers":9`) }

// plant parks anything.
func (r *rig) plant(body string) {
	r.t.Helper()
	place := r.tokens.Waiting("sandbox", "default", "p")
	m := nats.NewMsg(place.Parked())
	m.Data = []byte(body)
	m.Header.Set("Nats-Schedule", "@at 2099-01-02T03:04:05.678901234Z")
	m.Header.Set("Nats-Schedule-Target", place.Due())
	_, err := r.JS.PublishMsg(r.ctx, m)
	r.must(err)
}

func TestWhatDoesNotDecodeSaysWhenItComesDueAndWhoseItIs(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.scribble()
	want := record.ScheduledLookUp{Provider: "sandbox", Account: "default", Payment: "p", DueAt: far(0)}
	if got := r.look("p"); got.Sequence == 0 || !got.Unreadable || !reflect.DeepEqual(got.Parked, want) {
		t.Errorf("half a document reads as %+v", got)
	}
	r.must(r.lot.Cancel(r.ctx, r.look("p")))
	if got := r.look("p"); got.Sequence != 0 {
		t.Errorf("it cannot be cancelled: %+v", got)
	}
}

// What it names is where the next look-up would be parked.
func TestDocumentOfAnotherPaymentIsReplaced(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"{}", "null", `{"provider":"sandbox","account":"default","payment":"q","covers":9}`} {
		r := setup(t)
		r.plant(body)
		if !r.look("p").Unreadable {
			t.Errorf("%s is what is parked", body)
		}
		p := waiting("p", 7, 1)
		r.must(r.lot.Schedule(r.ctx, p))
		r.holds("p", p)
	}
}

// Else a payment could not be worked on until the broker fires it.
func TestWhatDoesNotDecodeIsReplaced(t *testing.T) {
	t.Parallel()
	early := func(p record.ScheduledLookUp) record.ScheduledLookUp { p.Expedited = true; return p }
	same := func(p record.ScheduledLookUp) record.ScheduledLookUp { return p }
	for name, c := range map[string]struct {
		put  func(*retry.Store, context.Context, record.ScheduledLookUp) error
		want func(record.ScheduledLookUp) record.ScheduledLookUp
	}{
		"first":  {(*retry.Store).Schedule, same},
		"held":   {(*retry.Store).ScheduleUnasked, early},
		"join":   {(*retry.Store).ExtendCoverage, early},
		"again":  {(*retry.Store).Reschedule, same},
		"follow": {(*retry.Store).ScheduleRecheck, same},
		"summon": {(*retry.Store).Enqueue, early},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, stands := range []uint64{0, 7} {
				r := setup(t)
				r.scribble()
				p := waiting("p", stands, 1)
				r.must(c.put(r.lot, r.ctx, p))
				r.holds("p", c.want(p))
			}
		})
	}
}

func TestWhatDoesNotDecodeIsNotHastened(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.scribble()
	before := r.look("p")
	if ok, err := r.lot.Expedite(r.ctx, before.Parked); ok || !errors.Is(err, retry.ErrUnreadable) {
		t.Errorf("%v, %v", ok, err)
	}
	if got := r.look("p"); got.Sequence != before.Sequence {
		t.Errorf("it became %+v", got)
	}
}
