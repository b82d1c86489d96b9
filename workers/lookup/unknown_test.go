package lookup_test

import (
	"net/http"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
)

// refusesURL makes the provider answer status for payments called bad, and a fact
// for all others.
func (r *rig) refusesURL(status int) {
	r.script(func(payment string, _ int) (int, string) {
		if payment == "bad" {
			return status, `{"error":"no"}`
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
}

// givenUp fails unless the one dead letter is about the notification, and no look-up is
// scheduled.
func (r *rig) givenUp(m *testbench.Delivered) {
	r.T.Helper()
	deadLetters := r.deadLetters()
	if len(deadLetters) != 1 || deadLetters[0].Sequence != m.Sequence || deadLetters[0].Class != record.ClassData || r.parked("bad").Sequence != 0 {
		r.T.Errorf("parked is %+v, dead letters are %+v", r.parked("bad").Parked, deadLetters)
	}
}

func TestTooLongURLIsDeadLetteredAtOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.refusesURL(http.StatusRequestURITooLong)
	m := r.notify("bad")
	r.handle(m)
	r.givenUp(m)
}

func TestRefusedURLIsDeadLetteredWhileOthersAreAnswered(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.refusesURL(http.StatusBadRequest)
	r.handle(r.notify("good"))
	m := r.notify("bad")
	r.handle(m)
	r.givenUp(m)
}

// The base URL may be wrong, and be corrected.
func TestURLRefusedForAllIsRetriedUntilAnAnswer(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.refusesURL(http.StatusBadRequest)
	m := r.notify("bad")
	r.handle(m)
	r.fire("bad")
	if p := r.parked("bad").Parked; p.Reason != "refused" || p.Attempts != 1 || len(r.deadLetters()) != 0 {
		t.Errorf("parked is %+v, dead letters are %+v", p, r.deadLetters())
	}
	r.handle(r.notify("good"))
	r.fire("bad")
	r.givenUp(m)
}

func TestAnsweredPaymentIsRetriedAfterARefusedURL(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.says("paid", 10000, 0)
	r.handle(r.notify("bad"))
	r.refusesURL(http.StatusBadRequest)
	r.handle(r.notify("bad"))
	if p := r.parked("bad").Parked; p.Reason != "refused" || len(r.deadLetters()) != 0 {
		t.Errorf("parked is %+v, dead letters are %+v", p, r.deadLetters())
	}
}
