package outage_test

import (
	"encoding/json"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// answered stores an observation like another worker whose look-up was answered.
func (r *rig) answered(provider string, confirmed bool) {
	r.T.Helper()
	body, err := json.Marshal(order.Observation{Payment: "p", Confirmed: confirmed})
	r.Must(err)
	if _, err := r.JS.Publish(r.Ctx, subject.Unit{Provider: provider, Account: "default", Payment: "p"}.Status(), body); err != nil {
		r.T.Fatal(err)
	}
}

// resumed waits until the consumers of the provider are not paused.
func (r *rig) resumed() {
	r.T.Helper()
	r.Until("the consumers are resumed", func() bool { return r.left("sandbox") == [2]time.Duration{} })
}

func TestOnlyFailingWorkerPausesItself(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.answered("sandbox", true)
	r.fail(2)
	r.answered("sandbox", true)
	r.fail(1)
	if got := r.paused("sandbox"); got != 0 || !r.denied("default") || r.gauge() != 1 {
		t.Fatalf("the others pause for %v, and the metric says %v", got, r.gauge())
	}
	if r.Room(8) != 0 {
		t.Error("it takes messages from the others while it pauses")
	}
	r.clock.Advance(11 * time.Minute)
	if got := r.Room(8); got != 1 {
		t.Errorf("it pulls %d messages for one probe", got)
	}
	r.answered("sandbox", true)
	r.Failed(r.Ctx, r.acquire())
	if got := r.paused("sandbox"); got != 0 || !r.denied("default") {
		t.Errorf("a failing probe pauses the others for %v", got)
	}
	r.clock.Advance(21 * time.Minute)
	r.Answered(r.Ctx, r.acquire())
	if r.denied("default") || r.Room(8) != 8 {
		t.Error("after an answer it does not go on")
	}
}

// A look-up that was in flight when the pause began is answered during it.
func TestAnswerToAnotherWorkerResumesTheConsumers(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fail(3)
	if got := r.paused("sandbox"); got != 10*time.Minute {
		t.Fatalf("three failures pause for %v", got)
	}
	r.answered("picpay", true)
	r.answered("sandbox", true)
	r.resumed()
	if got := r.Room(8); got != 1 || r.gauge() != 1 {
		t.Errorf("the worker that gets no answer pulls %d messages, and the metric says %v", got, r.gauge())
	}
	r.Failed(r.Ctx, r.acquire())
	if got := r.paused("sandbox"); got != 0 || !r.denied("default") {
		t.Errorf("when its probe fails the others pause for %v", got)
	}
}

// A trusted payload does not show that the provider answers.
func TestTrustedPayloadIsNoAnswer(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.answered("sandbox", false)
	r.fail(2)
	r.answered("sandbox", false)
	r.fail(1)
	if got := r.paused("sandbox"); got != 10*time.Minute {
		t.Errorf("three failures pause for %v", got)
	}
}

func TestPauseEndsByTheBrokersClock(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.clock.Advance(time.Hour)
	r.fail(3)
	if got := r.paused("sandbox"); got != 10*time.Minute {
		t.Errorf("the consumers pause for %v", got)
	}
}

// Every second probe asks about the control payment.
func TestEverySecondProbeUsesTheControlPayment(t *testing.T) {
	t.Parallel()
	r := setup(t)
	if r.acquire().Control() {
		t.Error("a look-up that is no probe asks for it")
	}
	r.fail(3)
	for _, want := range []bool{true, false, true} {
		r.clock.Advance(36 * time.Minute)
		l := r.acquire()
		if l.Control() != want {
			t.Errorf("a probe asks for it: %v, want %v", l.Control(), want)
		}
		r.Failed(r.Ctx, l)
	}
}
