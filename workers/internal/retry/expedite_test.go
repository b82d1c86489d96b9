package retry_test

import (
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
)

func TestEnqueueKeepsAttemptsAndCoverage(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first := time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	asked := record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p",
		Cause: order.CauseOperator, Reason: "operator", DueAt: time.Now().Add(time.Hour).UTC(), // Far ahead, so that it can be read.
	}
	r.Must(r.store.Enqueue(r.Ctx, asked))
	if got := r.read("p").Parked; got.Cause != order.CauseOperator || got.Attempts != 0 || got.FirstFailure != nil || !got.Expedited || got.Covers != 0 {
		t.Errorf("with nothing parked: %+v", got)
	}
	// The look-up in flight while it was enqueued fails, and schedules its retry.
	retry := asked
	retry.Cause, retry.Reason, retry.Attempts, retry.DueAt = order.CauseNotification, "transport", 1, asked.DueAt.Add(12*time.Hour)
	r.Must(r.store.Reschedule(r.Ctx, retry))
	if got := r.read("p").Parked; !got.DueAt.Equal(asked.DueAt) || got.Attempts != 1 {
		t.Errorf("behind a retry: %+v", got)
	}
	r.Must(r.store.Cancel(r.Ctx, r.read("p")))

	before := asked
	before.Cause, before.Covers, before.Attempts, before.NotFound, before.FirstFailure = order.CauseNotification, 7, 4, 2, &first
	r.Must(r.store.Schedule(r.Ctx, before))
	r.Must(r.store.Enqueue(r.Ctx, asked))
	got := r.read("p").Parked
	if got.Cause != order.CauseOperator || got.Attempts != 4 || got.NotFound != 2 || got.Covers != 7 || !got.Expedited ||
		got.FirstFailure == nil || !got.FirstFailure.Equal(first) {
		t.Errorf("in place of a spent one: %+v", got)
	}
}

// The answer to an operator may be as stale as the one before it, and has no recheck of
// its own.
func TestEnqueuedRecheckStaysARecheck(t *testing.T) {
	t.Parallel()
	for _, cause := range []order.Cause{order.CauseRecheck, order.CauseConfirmation} {
		t.Run(string(cause), func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			follows := scheduled("p", 7, 1)
			follows.Cause, follows.Reason, follows.Rechecks = cause, string(cause), 1
			r.Must(r.store.ScheduleRecheck(r.Ctx, follows))
			asked := scheduled("p", 0, 0)
			asked.Cause, asked.Reason, asked.FirstFailure, asked.DueAt = order.CauseOperator, "operator", nil, far(-9)
			r.Must(r.store.Enqueue(r.Ctx, asked))
			want := follows
			want.Reason, want.DueAt, want.Expedited = "operator", asked.DueAt, true
			r.holds("p", want)
		})
	}
}

// Without the mark, the next refusal of this payment alone would stop the account.
func TestRefusedCredentialStaysMarked(t *testing.T) {
	t.Parallel()
	refused := func(p record.ScheduledLookUp) record.ScheduledLookUp { p.Refused = true; return p }
	for name, c := range map[string]struct {
		parked, next record.ScheduledLookUp
		put          func(*rig, record.ScheduledLookUp) error
	}{
		"enqueued": {refused(scheduled("p", 5, 1)), scheduled("p", 0, 0), func(r *rig, p record.ScheduledLookUp) error { return r.store.Enqueue(r.Ctx, p) }},
		"again":    {refused(scheduled("p", 7, 0)), scheduled("p", 5, 1), func(r *rig, p record.ScheduledLookUp) error { return r.store.Reschedule(r.Ctx, p) }},
		"first":    {scheduled("p", 5, 1), refused(scheduled("p", 7, 0)), func(r *rig, p record.ScheduledLookUp) error { return r.store.Schedule(r.Ctx, p) }},
		"joined":   {scheduled("p", 5, 1), refused(scheduled("p", 7, 0)), func(r *rig, p record.ScheduledLookUp) error { return r.store.ExtendCoverage(r.Ctx, p) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			r.Must(r.store.Schedule(r.Ctx, c.parked))
			r.Must(c.put(r, c.next))
			if p := r.read("p").Parked; !p.Refused {
				t.Errorf("parked is %+v", p)
			}
		})
	}
}

func TestExpediteMovesOnlyTheDueTime(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: 7,
		Cause: order.CauseNotification, Reason: "transport", Attempts: 4, DueAt: time.Now().Add(2 * time.Hour).UTC(),
	}
	if ok, err := r.store.Expedite(r.Ctx, p); err != nil || ok || r.read("p").Sequence != 0 {
		t.Errorf("with nothing parked: %v, %v", ok, err)
	}
	r.Must(r.store.Schedule(r.Ctx, p))
	sooner := record.ScheduledLookUp{Provider: "sandbox", Account: "default", Payment: "p", DueAt: time.Now().Add(time.Hour).UTC()}
	if ok, err := r.store.Expedite(r.Ctx, sooner); err != nil || !ok {
		t.Errorf("with something parked: %v, %v", ok, err)
	}
	got := r.read("p").Parked
	if !got.DueAt.Equal(sooner.DueAt) || !got.Expedited || got.Attempts != 4 || got.Covers != 7 || got.Reason != "transport" || got.Cause != order.CauseNotification {
		t.Errorf("parked is %+v", got)
	}
}

func TestRetryThatReplacesARecheckStaysARecheck(t *testing.T) {
	t.Parallel()
	r := setup(t)
	fired := record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: 5,
		Cause: order.CauseNotification, Reason: "transport", Attempts: 2, DueAt: time.Now().Add(time.Hour).UTC(),
	}
	follows := fired
	follows.Cause, follows.Reason, follows.Covers, follows.Attempts = order.CauseConfirmation, "confirmation", 6, 0
	r.Must(r.store.ScheduleRecheck(r.Ctx, follows))
	r.Must(r.store.Reschedule(r.Ctx, fired))
	if got := r.read("p").Parked; got.Cause != order.CauseConfirmation || got.Covers != 6 || got.Attempts != 2 || got.Reason != "transport" {
		t.Errorf("parked is %+v", got)
	}
}
