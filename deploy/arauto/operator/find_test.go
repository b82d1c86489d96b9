package operator

import (
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/deadletter"
)

// bury stores a letter about a payment of which nothing else is known.
func (r *rig) bury(stage, payment string, sequence uint64) {
	r.t.Helper()
	letter := record.DeadLetter{
		ID: deadletter.ID(subject.Notifications, sequence), Class: record.ClassProvider, Stage: stage, Provider: "sandbox", Account: "default",
		Kind: order.Payment, Payment: payment, Order: "o-" + payment, Cause: "down", LastAnswer: "unavailable",
		Stream: subject.Notifications, Sequence: sequence, For: sequence, Next: "redrive", At: time.Now().UTC(),
	}
	r.must(r.dead.Put(r.ctx, r.unit(payment), letter, letter.ID, deadletter.SameID(letter.ID)))
}

// Its letter outlives notifications and observations, so it may be all that is
// left of a payment.
func TestPaymentIsFoundByItsLetterAlone(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"lookup", "normalize", "sweep"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			r := deploy(t)
			r.bury(stage, "p-1", 7)
			for _, flags := range [][]string{nil, {"--provider", "sandbox"}, {"--account", "default"}} {
				if out := r.run(ExitDone, append([]string{"order", "show", "p-1"}, flags...)...); !strings.Contains(out, "sandbox/default/p-1  dead letter  NOTIFICATIONS-7") {
					t.Errorf("order show %v says %q", flags, out)
				}
			}
			r.bank.say("p-1", "paid")
			if out := r.run(ExitDone, "replay", "--payment", "p-1"); out != "sandbox/default/p-1: ? -> paid, order o-p-1\n1 transitions\n" {
				t.Errorf("replay says %q", out)
			}
		})
	}
}
