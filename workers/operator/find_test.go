package operator

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
)

// putDeadLetter stores a letter about a payment of which nothing else is known.
func (r *rig) putDeadLetter(stage, payment string, sequence uint64) {
	r.T.Helper()
	letter := record.DeadLetter{
		ID: deadletter.ID(subject.Notifications, sequence), Class: record.ClassProvider, Stage: stage, Provider: "sandbox", Account: "default",
		Kind: order.Payment, Payment: payment, Order: "o-" + payment, Cause: "down", LastAnswer: "unavailable",
		Stream: subject.Notifications, Sequence: sequence, Covers: sequence, Next: "redrive", At: time.Now().UTC(),
	}
	r.Must(r.dead.Put(r.Ctx, r.Unit(payment), letter, letter.ID, deadletter.SameID(letter.ID)))
}

// Its letter outlives notifications and observations, so it may be all that is
// left of a payment.
func TestPaymentIsFoundByItsLetterAlone(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"lookup", "normalize", "sweep"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			r := deploy(t)
			r.putDeadLetter(stage, "p-1", 7)
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

// An order's number is in no subject before its first event, and a provider's
// reference never is.
func TestOrderIsFoundFromItsFirstWebhookOn(t *testing.T) {
	t.Parallel()
	for place, store := range map[string]func(r *rig){
		"notified": func(r *rig) { r.notify("p-1") },
		"parked": func(r *rig) {
			r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
				Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Order: "o-p-1", Cause: order.CauseNotification, Reason: "transport",
				DueAt: time.Now().Add(time.Hour).UTC(),
			}))
		},
		"due": func(r *rig) {
			body, err := json.Marshal(record.ScheduledLookUp{Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Order: "o-p-1"})
			r.Must(err)
			r.plant(r.Tokens.Waiting("sandbox", "default", "p-1").Due(), string(body))
		},
		"observed": func(r *rig) { r.refer("p-1", "") },
		"dead":     func(r *rig) { r.putDeadLetter("lookup", "p-1", 7) },
	} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			r := idle(t)
			r.notify("p-2") // Another order's.
			store(r)
			for _, flags := range [][]string{nil, {"--provider", "sandbox"}, {"--account", "default"}} {
				if out := r.run(ExitDone, append([]string{"order", "show", "o-p-1"}, flags...)...); !strings.Contains(out, "sandbox/default/p-1  ") || strings.Contains(out, "p-2") {
					t.Errorf("order show %v says %q", flags, out)
				}
			}
			r.run(ExitFailed, "order", "show", "o-p-1", "--provider", "picpay")
			if out := r.run(ExitDone, "retry", "now", "o-p-1"); !strings.HasPrefix(out, "sandbox/default/p-1: ") {
				t.Errorf("retry now says %q", out)
			}
			if out := r.run(ExitPartly, "replay", "--order", "o-p-1", "--wait", "1ms"); !strings.HasPrefix(out, "sandbox/default/p-1: ") {
				t.Errorf("replay says %q", out)
			}
		})
	}
}

// refer stores an answer that names a reference of the provider.
func (r *rig) refer(payment, reference string) {
	r.T.Helper()
	body, err := json.Marshal(order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: "o-" + payment, ProviderReference: reference,
		ProviderStatus: "no word of ours", Confirmed: true, Cause: order.CauseNotification,
	})
	r.Must(err)
	r.plant(r.Unit(payment).Status(), string(body))
}

func TestPaymentIsFoundByTheProvidersReference(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.refer("p-1", "ref-1")
	r.refer("p-2", "ref-2")
	if out := r.run(ExitDone, "order", "show", "ref-1"); !strings.Contains(out, "sandbox/default/p-1  ") || strings.Contains(out, "p-2") {
		t.Errorf("order show says %q", out)
	}
	r.putDeadLetter("lookup", "p-1", 7)
	r.putDeadLetter("lookup", "p-2", 8)
	if out := r.run(ExitDone, "dead", "redrive", "--order", "ref-1"); out != "NOTIFICATIONS-7 sandbox/default/p-1: redriven\n1 of 1 letters redriven\n" {
		t.Errorf("redrive says %q", out)
	}
}

// Two payments of an order need not be equally far.
func TestPaymentWithoutAnEventIsFoundBesideOneThatHasSome(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.bank.say("p-1", "paid")
	r.notify("p-1")
	r.moved("p-1", order.Paid)
	r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
		Provider: "sandbox", Account: "acme", Kind: order.Payment, Payment: "p-9", Order: "o-p-1", Cause: order.CauseNotification, Reason: "transport",
		DueAt: time.Now().Add(time.Hour).UTC(),
	}))
	if out := r.run(ExitDone, "order", "show", "o-p-1"); !strings.Contains(out, "sandbox/default/p-1  event") || !strings.Contains(out, "sandbox/acme/p-9  ") {
		t.Errorf("order show says:\n%s", out)
	}
}

// TestOrderShowListsEveryFailedLookUp reads the timeline of a payment while it
// waits, and again when the provider has answered.
func TestOrderShowListsEveryFailedLookUp(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.notify("p-1") // The bank knows no word for it, and answers 500.
	r.Until("it has failed twice and is parked", func() bool {
		place, err := r.retries.Read(r.Ctx, "sandbox", "default", "p-1")
		r.Must(err)
		return place.Parked.Attempts == 1
	})
	failed := func() (all []string) {
		for line := range strings.Lines(r.run(ExitDone, "order", "show", "o-p-1")) {
			if strings.Contains(line, "  failed  ") {
				all = append(all, line)
			}
		}
		return all
	}
	waiting := failed()
	for i, line := range waiting {
		if !strings.Contains(line, "unavailable: read answer of sandbox: status 500") || !strings.Contains(line, fmt.Sprintf("attempt %d, asked again at 20", i)) {
			t.Errorf("number %d is %s", i, line)
		}
	}
	if needs := r.run(ExitPartly, "status"); !strings.Contains(needs, "1 look-ups have failed and wait: sandbox: unavailable, last read answer of sandbox: status 500") {
		t.Errorf("status says:\n%s", needs)
	}
	r.bank.say("p-1", "paid")
	r.run(ExitDone, "retry", "now", "o-p-1")
	r.moved("p-1", order.Paid)
	if got := failed(); len(got) != 2 || len(waiting) != 2 || got[0] != waiting[0] || got[1] != waiting[1] {
		t.Errorf("while it waits:\n%s\nafter it is paid:\n%s", waiting, got)
	}
}
