package outage_test

import (
	"encoding/json"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// answered stores an observation, as a worker does whose look-up was answered.
func (r *rig) answered(provider string, confirmed bool) {
	r.t.Helper()
	body, err := json.Marshal(order.Observation{Payment: "p", Confirmed: confirmed})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.JS.Publish(r.ctx, subject.Unit{Provider: provider, Account: "default", Payment: "p"}.Status(), body); err != nil {
		r.t.Fatal(err)
	}
}

// resumed waits until the consumers of the provider are not paused.
func (r *rig) resumed() {
	r.t.Helper()
	for r.left("sandbox") != [2]time.Duration{} {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.ctx.Done():
			r.t.Fatal("the others are never resumed")
		}
	}
}

func TestWorkerThatAloneFailsPausesOnlyItself(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.answered("sandbox", true)
	r.fail(2)
	r.answered("sandbox", true)
	r.fail(1)
	if got := r.paused("sandbox"); got != 0 || !r.held("default") || r.gauge() != 1 {
		t.Fatalf("the others pause for %v, and the metric says %v", got, r.gauge())
	}
	if r.Room(8) != 0 {
		t.Error("it takes messages from the others while it pauses")
	}
	r.at = r.at.Add(11 * time.Minute)
	if got := r.Room(8); got != 1 {
		t.Errorf("it pulls %d messages for one probe", got)
	}
	r.answered("sandbox", true)
	r.Failed(r.ctx, r.enter())
	if got := r.paused("sandbox"); got != 0 || !r.held("default") {
		t.Errorf("a failing probe pauses the others for %v", got)
	}
	r.at = r.at.Add(21 * time.Minute)
	r.Answered(r.ctx, r.enter())
	if r.held("default") || r.Room(8) != 8 {
		t.Error("after an answer it does not go on")
	}
}

// What was in flight when the pause began is answered during it.
func TestPauseOfEverybodyEndsWhenSomebodyIsAnswered(t *testing.T) {
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
	r.Failed(r.ctx, r.enter())
	if got := r.paused("sandbox"); got != 0 || !r.held("default") {
		t.Errorf("when its probe fails the others pause for %v", got)
	}
}

// A webhook that is believed does not show that the provider answers.
func TestBelievedWebhookIsNoAnswer(t *testing.T) {
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

func TestWorkerWhoseClockIsAheadPausesNobodyForLonger(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.at = r.at.Add(time.Hour)
	r.fail(3)
	if got := r.paused("sandbox"); got != 10*time.Minute {
		t.Errorf("everybody pauses for %v", got)
	}
}

// Every other probe asks for what the provider is known to know.
func TestProbesAskForTheControlPaymentInTurns(t *testing.T) {
	t.Parallel()
	r := setup(t)
	if r.enter().Control() {
		t.Error("a look-up that is no probe asks for it")
	}
	r.fail(3)
	for _, want := range []bool{true, false, true} {
		r.at = r.at.Add(36 * time.Minute)
		l := r.enter()
		if l.Control() != want {
			t.Errorf("a probe asks for it: %v, want %v", l.Control(), want)
		}
		r.Failed(r.ctx, l)
	}
}
