package retry_test

import (
	"testing"

	"arauto/workers/internal/retry"
)

func TestExpediteReportsWhetherALookUpIsScheduled(t *testing.T) {
	t.Parallel()
	r := setup(t)
	sooner := a(0, 0, due(-1))
	if stored, err := r.store.ScheduleOver(r.Ctx, r.read("p"), retry.Expedite, sooner); err != nil || stored.Sequence != 0 || r.read("p").Sequence != 0 {
		t.Errorf("with nothing parked: %+v, %v", stored, err)
	}
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, a(7, 4)))
	if stored, err := r.store.ScheduleOver(r.Ctx, r.read("p"), retry.Expedite, sooner); err != nil || stored.Sequence == 0 {
		t.Errorf("with something parked: %+v, %v", stored, err)
	}
	r.holds("p", a(7, 4, due(-1), expedited))
	if got := r.raw("p").Header.Get("Nats-Schedule"); got != "@at 2099-01-02T02:04:05.678901234Z" {
		t.Errorf("the schedule became %q", got)
	}
}
