package operator

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
)

func TestReplayOverAHealthyDayMakesNoTransitionAndPublishesNothing(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	for _, payment := range []string{"p-1", "p-2", "p-3"} {
		r.bank.say(payment, "paid")
		r.notify(payment)
		r.moved(payment, order.Paid)
	}
	events, asked := r.count(subject.Orders), r.bank.times()
	out := r.run(ExitDone, "replay", "--since", "24h", "--rate", "100")
	if !strings.HasSuffix(out, "0 transitions\n") || r.count(subject.Orders) != events {
		t.Errorf("output:\n%s\n%d events, before %d", out, r.count(subject.Orders), events)
	}
	if got := r.bank.times() - asked; got < 3 {
		t.Errorf("the provider was asked %d times about 3 payments", got)
	}
	if got := r.audits(); len(got) != 3 || got[0].Verb != "replay" || got[0].Who == "" || got[0].Host == "" || got[0].At.IsZero() || got[0].Payment != "p-1" {
		t.Errorf("audit is %+v", got)
	}
	if out := r.run(ExitDone, "replay", "--since", "1ns"); out != "0 transitions\n" {
		t.Errorf("nothing is that young, but:\n%s", out)
	}
}

func TestReplayCountsTheEventsThatAppeared(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	for _, payment := range []string{"p-1", "p-2"} {
		r.bank.say(payment, "disputed")
		r.notify(payment)
		r.moved(payment, order.Disputed)
	}
	r.bank.say("p-1", "paid") // A return edge, which wants a second look.
	r.bank.say("p-2", "refunded")
	out := r.run(ExitDone, "replay", "--since", "1h", "--provider", "sandbox", "--output", "json")
	var got replayed
	r.Must(json.Unmarshal([]byte(out), &got))
	if got.Asked != 2 || len(got.Transitions) != 2 || got.Transitions[0].From != "disputed" || got.Transitions[0].Status != "paid" || got.Transitions[1].Status != "refunded" {
		t.Errorf("replay says %s", out)
	}
	golden(t, "replay.json", out)
}

func TestReplayThatFailsSaysSoAndSpendsNoAttempt(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	first := time.Now().Add(-10 * time.Minute).UTC().Truncate(time.Millisecond)
	r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Covers: 7, Cause: order.CauseNotification, Reason: "unavailable",
		Attempts: 1, FirstFailure: &first, DueAt: first.Add(time.Hour),
	}))
	out := r.run(ExitPartly, "replay", "--payment", "p-1")
	if !strings.Contains(out, "sandbox/default/p-1: failed (unavailable), parked until ") || !strings.HasSuffix(out, "0 transitions\n") {
		t.Errorf("output:\n%s", out)
	}
	place, err := r.retries.Read(r.Ctx, "sandbox", "default", "p-1")
	r.Must(err)
	if p := place.Parked; p.Attempts != 1 || p.Covers != 7 || p.Expedited || p.FirstFailure == nil || !p.FirstFailure.Equal(first) || !p.DueAt.Equal(first.Add(time.Hour)) {
		t.Errorf("parked is %+v", p)
	}
}

func TestReplayWhoseAnswerBecameADeadLetterSaysSo(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.bank.say("p-1", "paid")
	r.notify("p-1")
	r.moved("p-1", order.Paid)
	for word, says := range map[string]string{
		"no word of ours": `unknown provider word "no word of ours"`,
		"nor is this":     `unknown provider word "nor is this"`,
	} {
		r.bank.say("p-1", word)
		want := "sandbox/default/p-1: answered, there is a dead letter: " + says + "\n0 transitions\n"
		if out := r.run(ExitPartly, "replay", "--payment", "p-1"); out != want {
			t.Errorf("output:\n%s\nwant:\n%s", out, want)
		}
	}
	r.run(ExitDone, "dead", "discard", "--all")
	r.bank.say("p-1", "paid")
	if out := r.run(ExitDone, "replay", "--payment", "p-1"); out != "0 transitions\n" {
		t.Errorf("behind letters of before:\n%s", out)
	}
}

// Somebody else may act on a payment's letters while its answer is waited for.
func TestMarkOfALetterIsNoProblemOfAReplay(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.bank.say("p-1", "paid")
	r.notify("p-1")
	r.moved("p-1", order.Paid)
	observed, err := observations.Open(r.Ctx, r.JS)
	r.Must(err)
	s := &Deployment{js: r.JS, tokens: r.Tokens, observed: observed, retries: r.retries, deadLetters: r.dead}
	answered := asked{payment: payment{unit: r.Unit("p-1"), target: provider.Target{Payment: "p-1"}}}
	for _, step := range []struct {
		do      func()
		trouble string
	}{
		{func() {}, ""},
		{func() { r.putDeadLetter("normalize", "p-1", 7) }, "answered, there is a dead letter: down"},
		{func() { r.run(ExitDone, "dead", "discard", "--all") }, ""},
	} {
		step.do()
		done, trouble, err := s.finished(r.Ctx, answered, r.count(subject.Statuses))
		if !done || trouble != step.trouble || err != nil {
			t.Errorf("done %v, trouble %q, error %v, want %q", done, trouble, err, step.trouble)
		}
	}
}

// A worker parks what follows its answer before it writes that.
func TestReplayTakesWhatFollowsAnAnswerForNoFailure(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.notify("p-1")
	out := make(chan string, 1)
	go func() { out <- r.run(ExitPartly, "replay", "--payment", "p-1", "--wait", "2s") }()
	r.Until("the look-up has fired", func() bool {
		due, err := r.retries.ReadDue(r.Ctx, "sandbox", "default", "p-1")
		r.Must(err)
		return due.Sequence > 0
	})
	r.Must(r.retries.Schedule(r.Ctx, retry.Recheck, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Covers: 7,
		Cause: order.CauseRecheck, Reason: string(order.CauseRecheck), DueAt: time.Now().Add(time.Hour).UTC(),
	}))
	if got := <-out; got != "sandbox/default/p-1: no answer within 2s; the look-up goes on\n0 transitions\n" {
		t.Errorf("output:\n%s", got)
	}
}

func TestReplayWithoutAWorkerStopsWaiting(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.notify("p-1")
	out := r.run(ExitPartly, "replay", "--order", "p-1", "--wait", "200ms")
	if !strings.Contains(out, "no answer within 200ms") || !strings.HasSuffix(out, "0 transitions\n") {
		t.Errorf("output:\n%s", out)
	}
}

func TestDryRunForetellsTransitionsAndStoresNothing(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	for _, payment := range []string{"same", "return", "wrong", "down", "forward"} {
		r.bank.say(payment, "disputed")
		r.notify(payment)
		r.moved(payment, order.Disputed)
	}
	for payment, word := range map[string]string{"return": "paid", "wrong": "no word of ours", "down": "", "forward": "refunded"} {
		r.bank.say(payment, word)
	}
	seen, events, parked := r.count(subject.Statuses), r.count(subject.Orders), r.count(subject.LookupRetries)
	out := r.run(ExitPartly, "replay", "--since", "1h", "--dry-run", "--rate", "100")
	for _, want := range []string{
		"sandbox/default/return: disputed -> paid, order o-return\n", "sandbox/default/forward: disputed -> refunded, order o-forward\n",
		"sandbox/default/wrong: would be a dead letter: no word of ours (unknown_word)\n", "sandbox/default/down: read answer of sandbox: ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if !strings.HasSuffix(out, "\n2 transitions\n") || strings.Contains(out, "same") {
		t.Errorf("output:\n%s", out)
	}
	if r.count(subject.Statuses) != seen || r.count(subject.Orders) != events || r.count(subject.LookupRetries) != parked || len(r.audits()) != 0 {
		t.Error("the dry run has stored something")
	}
}

// A credential that was refused is not tried again for each payment.
func TestDryRunLeavesAccountsAloneWhoseCircuitIsOpen(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.notify("p-1")
	r.run(ExitDone, "circuit", "open", "--provider", "sandbox", "--account", "default")
	out := r.run(ExitDone, "replay", "--since", "1h", "--dry-run")
	if !strings.Contains(out, "sandbox/default/p-1: its account's circuit is open\n") || r.bank.times() != 0 {
		t.Errorf("after %d look-ups the output is\n%s", r.bank.times(), out)
	}
}

func TestDryRunAsksNoMoreOnceACredentialIsRefused(t *testing.T) {
	t.Parallel()
	r := idle(t)
	for _, payment := range []string{"p-1", "p-2", "p-3"} {
		r.bank.say(payment, refusesUs)
		r.notify(payment)
	}
	out := r.run(ExitPartly, "replay", "--since", "1h", "--dry-run", "--rate", "100")
	if got := strings.Count(out, "its account's circuit is open"); got != 2 || r.bank.times() != 1 {
		t.Errorf("after %d look-ups the output is\n%s", r.bank.times(), out)
	}
}

// What was given up before anybody answered, and whose notification has been
// purged, is asked for as what it is.
func TestReplayKnowsFromTheLetterWhatAPaymentIs(t *testing.T) {
	t.Parallel()
	r := idle(t)
	letter := record.DeadLetter{
		ID: "NOTIFICATIONS-7", Class: record.ClassProvider, Stage: "lookup", Provider: "sandbox", Account: "default",
		Kind: order.Payment, Payment: "p-1", Order: "o-of-the-letter", Cause: "down", LastAnswer: "unavailable",
		Stream: subject.Notifications, Sequence: 7, Covers: 7, Next: "redrive", At: time.Now().UTC(),
	}
	r.Must(r.dead.Put(r.Ctx, r.Unit("p-1"), letter, letter.ID, deadletter.SameID(letter.ID)))
	r.run(ExitPartly, "replay", "--class", "provider", "--wait", "50ms")
	due, err := r.retries.ReadDue(r.Ctx, "sandbox", "default", "p-1")
	r.Must(err)
	if due.Sequence == 0 {
		due, err = r.retries.Read(r.Ctx, "sandbox", "default", "p-1")
		r.Must(err)
	}
	if p := due.Parked; p.Kind != order.Payment || p.Order != "o-of-the-letter" {
		t.Errorf("what is made due is %+v", p)
	}
}

func TestPaymentsThatNobodyCanBeAskedAboutAreSkipped(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	body, err := json.Marshal(record.Notification{ID: "n", Provider: "beeteller", Account: "default", Kind: order.Payout, Payment: "b-1", ReceivedAt: time.Now().UTC()})
	r.Must(err)
	_, err = r.JS.Publish(r.Ctx, "notifications.beeteller.default.b-1", body)
	r.Must(err)
	if out := r.run(ExitDone, "replay", "--since", "1h"); out != "beeteller/default/b-1: it cannot be looked up\n0 transitions\n" || len(r.audits()) != 0 {
		t.Errorf("output:\n%s", out)
	}
}

func TestRetryNowKeepsAttemptsAndFirstFailure(t *testing.T) {
	t.Parallel()
	r := idle(t)
	first := time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Covers: 7, Cause: order.CauseNotification, Reason: "transport",
		Attempts: 4, FirstFailure: &first, DueAt: time.Now().Add(time.Hour).UTC(),
	}))
	if out := r.run(ExitDone, "retry", "now", "p-1"); out != "sandbox/default/p-1: due now, after 4 attempts\n" {
		t.Errorf("output %q", out)
	}
	r.Until("it has fired", func() bool {
		due, err := r.retries.ReadDue(r.Ctx, "sandbox", "default", "p-1")
		r.Must(err)
		p := due.Parked
		if due.Sequence > 0 && (p.Attempts != 4 || !p.FirstFailure.Equal(first) || p.Covers != 7 || p.Cause != order.CauseNotification || !p.Expedited) {
			t.Fatalf("what fired is %+v", p)
		}
		return due.Sequence > 0
	})
	if got := r.audits(); len(got) != 1 || got[0].Verb != "retry_now" || got[0].Payment != "p-1" {
		t.Errorf("audit is %+v", got)
	}
	if out := r.run(ExitDone, "retry", "now", "p-1", "--output", "json"); !strings.Contains(out, `"due_now": false`) {
		t.Errorf("a second time: %s", out)
	}
}

func TestNothingIsChangedThatCouldNotBeWrittenDown(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.bank.say("p-1", "no word of ours")
	r.notify("p-1")
	r.Until("the letter is there", func() bool { return r.last(subject.DeadLetters, "dead.>") != nil })
	r.Must(r.JS.DeleteStream(r.Ctx, subject.Audit))
	letters, asked := r.count(subject.DeadLetters), r.bank.times()
	r.run(ExitFailed, "replay", "--payment", "p-1")
	r.run(ExitPartly, "dead", "redrive", "--all")
	r.run(ExitPartly, "dead", "discard", "--all")
	r.run(ExitFailed, "circuit", "open", "--provider", "sandbox", "--account", "default")
	if r.count(subject.DeadLetters) != letters || r.bank.times() != asked || r.count(subject.Circuits) != 0 {
		t.Error("something was changed without an entry")
	}
}
