package operator

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/trace"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
)

// list runs dead list and returns the ids.
func (r *rig) list(args ...string) (ids []string) {
	r.T.Helper()
	var letters []record.DeadLetter
	r.Must(json.Unmarshal([]byte(r.run(ExitDone, append([]string{"dead", "list", "--output", "json"}, args...)...)), &letters))
	for _, l := range letters {
		ids = append(ids, l.ID)
	}
	return ids
}

func TestRedrivenLetterAsksAnewAndLeavesTheList(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.bank.say("p-1", "no word of ours")
	r.notify("p-1")
	r.Until("the letter is there", func() bool { return r.last(subject.DeadLetters, "dead.>") != nil })
	if got := r.list(); len(got) != 1 || got[0] != "STATUSES-1" {
		t.Fatalf("open letters are %v", got)
	}
	golden(t, "dead.json", r.run(ExitDone, "dead", "list", "--output", "json"))
	r.bank.say("p-1", "paid")
	if out := r.run(ExitDone, "dead", "redrive", "STATUSES-1"); out != "STATUSES-1 sandbox/default/p-1: redriven\n1 of 1 letters redriven\n" {
		t.Errorf("output:\n%s", out)
	}
	r.moved("p-1", order.Paid)
	if got := r.last(subject.Orders, r.Unit("p-1").Events()).Header.Get(trace.Header); !trace.Valid(got) {
		t.Errorf("the event's trace is %q", got)
	}
	if open, all := r.list(), r.list("--state", "redriven"); len(open) != 0 || len(all) != 1 {
		t.Errorf("open %v, redriven %v", open, all)
	}
	golden(t, "redriven.json", r.run(ExitDone, "dead", "show", "STATUSES-1"))
	if got := r.audits(); len(got) != 1 || got[0].Verb != "redrive" || got[0].Letter != "STATUSES-1" {
		t.Errorf("audit is %+v", got)
	}
	r.run(ExitDone, "dead", "redrive", "STATUSES-1", "--limit", "1")
	if out := r.run(ExitPartly, "dead", "redrive", "STATUSES-1"); out != "STATUSES-1: no such dead letter is open\n0 of 1 letters redriven\n" {
		t.Errorf("a second time:\n%s", out)
	}
}

func TestRedrivenLookUpHasAllAttempts(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	sequence := uint64(7)
	id := "NOTIFICATIONS-7"
	r.Must(r.dead.Put(r.Ctx, r.Unit("p-1"), record.DeadLetter{
		ID: id, Class: record.ClassProvider, Stage: "lookup", Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1",
		Cause: "no answer", Attempts: 11, LastAnswer: "transport", Stream: subject.Notifications, Sequence: sequence, Next: "redrive",
		At: time.Now().UTC(),
	}, id, deadletter.SameID(id)))
	r.run(ExitDone, "dead", "redrive", "--class", "provider", "--stage", "lookup")
	r.Until("it has failed twice and is parked", func() bool {
		place, err := r.retries.Read(r.Ctx, "sandbox", "default", "p-1")
		r.Must(err)
		return place.Parked.Attempts == 1 && place.Parked.Reason == "unavailable"
	})
}

// TestWhatIsAskedForAgainInVainIsReportedAgain uses up all attempts three
// times: for the webhook, for the operator who redrives its letter, and for the
// one who replays the payment. Each of them must hear of it.
func TestWhatIsAskedForAgainInVainIsReportedAgain(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.notify("p-1") // The bank knows no word for it, and answers 500.
	spend := func() {
		t.Helper()
		var parked record.ScheduledLookUp
		r.Until("it waits for its last attempt", func() bool {
			place, err := r.retries.Read(r.Ctx, "sandbox", "default", "p-1")
			r.Must(err)
			parked = place.Parked
			return parked.Attempts == 1
		})
		before := r.count(subject.DeadLetters)
		// One that comes due early spends nothing, so its time must really come.
		parked.DueAt, parked.Expedited = time.Now(), false
		r.Must(r.retries.Schedule(r.Ctx, retry.Retry, parked))
		r.Until("it is given up", func() bool { return r.count(subject.DeadLetters) > before })
	}
	spend()
	if got := r.list(); len(got) != 1 || got[0] != "NOTIFICATIONS-1" {
		t.Fatalf("open letters are %v", got)
	}
	r.run(ExitDone, "dead", "redrive", "NOTIFICATIONS-1")
	if got := r.list(); len(got) != 0 {
		t.Errorf("open letters while it is asked for again are %v", got)
	}
	spend()
	if got := r.list(); len(got) != 1 || !strings.HasPrefix(got[0], "LOOKUP_RETRIES-") {
		t.Errorf("open letters after the second time are %v", got)
	}
	r.run(ExitPartly, "replay", "--provider", "sandbox", "--account", "default", "--payment", "p-1")
	spend()
	if got := r.list(); len(got) != 2 {
		t.Errorf("open letters after the third time are %v", got)
	}
	r.bank.say("p-1", "paid")
	r.run(ExitDone, "dead", "redrive", "--all")
	r.moved("p-1", order.Paid)
	if got := r.list(); len(got) != 0 {
		t.Errorf("open letters in the end are %v", got)
	}
}

func TestDiscardedLetterIsNotReportedAgain(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	for _, word := range []string{"no word of ours", "nor is this"} {
		r.bank.say("p-1", word)
		before := r.count(subject.DeadLetters)
		r.notify("p-1")
		r.Until("the letter is there", func() bool { return r.count(subject.DeadLetters) > before })
	}
	r.run(ExitDone, "dead", "discard", "STATUSES-1") // The older one: its marker is now the last.
	letters := r.count(subject.DeadLetters)
	r.work() // Another worker, which remembers nothing and folds from the start.
	r.bank.say("p-1", "paid")
	r.notify("p-1")
	r.moved("p-1", order.Paid)
	if got := r.count(subject.DeadLetters); got != letters {
		t.Errorf("there are %d letters, before %d", got, letters)
	}
	if got := r.list(); len(got) != 1 || got[0] != "STATUSES-2" {
		t.Errorf("open letters are %v", got)
	}
}

func TestFiltersChooseLetters(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	for payment, word := range map[string]string{"a": "no word of ours", "b": "no word of ours", "c": "other"} {
		r.bank.say(payment, word)
		before := r.count(subject.DeadLetters)
		r.notify(payment)
		r.Until("the letter is there", func() bool { return r.count(subject.DeadLetters) > before })
	}
	for args, want := range map[string]int{
		"": 3, "--limit 2": 2, "--class provider": 3, "--class data": 0, "--stage normalize": 3, "--stage lookup": 0,
		"--provider sandbox --account default": 3, "--provider picpay": 0, "--account acme": 0, "--since 1h": 3, "--since 1ns": 0,
		"--state all": 3, "--state discarded": 0, "--word bogus": 0, "--word other": 1,
	} {
		if got := r.list(strings.Fields(args)...); len(got) != want {
			t.Errorf("with %q: %v, want %d", args, got, want)
		}
	}
	table := r.run(ExitDone, "dead", "list")
	for text, want := range map[string]int{"\n": 3, `unknown provider word "no word of ours" (and 1 more)`: 1, `unknown provider word "other"` + "\n": 1} {
		if strings.Count(table, text) != want {
			t.Errorf("letters about one word are not one line:\n%s", table)
		}
	}
	if out := r.run(ExitDone, "dead", "list", "--word", "no word of ours"); strings.Count(out, "\n") != 3 || strings.Contains(out, "more") {
		t.Errorf("each letter about one word:\n%s", out)
	}
	if out := r.run(ExitDone, "dead", "discard", "--limit", "2"); !strings.HasSuffix(out, "2 of 2 letters discarded\n") || len(r.list()) != 1 {
		t.Errorf("after discarding two, %v are open; output:\n%s", r.list(), out)
	}
}

func TestCircuitsAreSetAndListed(t *testing.T) {
	t.Parallel()
	r := idle(t)
	if out := r.run(ExitDone, "circuit", "list"); out != "no account was ever stopped\n" {
		t.Errorf("output %q", out)
	}
	golden(t, "circuit.json", r.run(ExitDone, "circuit", "open", "--provider", "sandbox", "--account", "default", "--output", "json"))
	if out := r.run(ExitDone, "circuit", "close", "--provider", "sandbox", "--account", "default"); !strings.HasPrefix(out, "sandbox/default: closed since ") {
		t.Errorf("output %q", out)
	}
	got := r.audits()
	if len(got) != 2 || got[0].Verb != "circuit_open" || got[1].Verb != "circuit_close" || got[1].Account != "default" {
		t.Errorf("audit is %+v", got)
	}
}

// A slip of the pen would stop nobody, and say that it did.
func TestCircuitOfAnAccountThatIsNotConfiguredIsRefused(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.blind()
	for line, says := range map[string]string{
		"circuit open --provider sandbox --account elsewhere":  "--account is not one of default",
		"circuit close --provider sandbox --account elsewhere": "--account is not one of default",
		"circuit open --provider picpay --account default":     "the configuration has no account of picpay",
	} {
		if code, out, problems := arauto(t, append(strings.Fields(line), "--config", r.config)...); code != ExitRefused || out != "" || problems != says+"\n" {
			t.Errorf("%s: code %d, output %q, problems %q", line, code, out, problems)
		}
	}
	if r.count(subject.Circuits) != 0 || len(r.audits()) != 0 {
		t.Error("something was stored")
	}
}

// Else its record would be open for good.
func TestCircuitOfAnAccountThatIsNoLongerConfiguredCanBeClosed(t *testing.T) {
	t.Parallel()
	r := idle(t)
	circuits, err := breaker.Open(r.Ctx, r.JS)
	r.Must(err)
	r.Must(circuits.OpenBy(r.Ctx, "sandbox", "gone", "ana"))
	if out := r.run(ExitDone, "circuit", "close", "--provider", "sandbox", "--account", "gone"); !strings.HasPrefix(out, "sandbox/gone: closed since ") {
		t.Errorf("output %q", out)
	}
	r.run(ExitRefused, "circuit", "open", "--provider", "sandbox", "--account", "gone")
}
