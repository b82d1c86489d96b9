package operator

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/config"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/expectations"
	"arauto/workers/internal/retry"
)

// announce stores an expectation of a payment, and returns its version.
func (r *rig) announce(store *expectations.Store, payment string, e expectation.Expectation) string {
	r.T.Helper()
	_, version, err := store.Announce(r.Ctx, "sandbox", "default", payment, e, "")
	r.Must(err)
	return version
}

func (r *rig) expectations() *expectations.Store {
	r.T.Helper()
	store, err := expectations.Open(r.Ctx, r.JS, r.Tokens, "")
	r.Must(err)
	return store
}

func TestOrderShowHasWhatIsExpectedAndWhatCameOfIt(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	store, u, number, transition := r.expectations(), r.Unit("p-1"), "o-p-1", uint64(1)
	deadline := time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC)
	first := expectation.Expectation{Order: number, Amount: &expectation.Amount{Currency: "BRL", Value: 900}, Deadline: &deadline}
	version, status := r.announce(store, "p-1", first), order.Paid
	r.bank.say("p-1", "paid")
	r.notify("p-1")
	r.moved("p-1", order.Paid)
	log, err := store.Log(r.Ctx, u)
	r.Must(err)
	outcome := expectation.Outcome{
		Provider: "sandbox", Account: "default", Payment: "p-1", Order: &number, Outcome: expectation.AmountMismatch, Version: version,
		Expected: first.Amount, Deadline: &deadline, Paid: &expectation.Amount{Currency: "BRL", Value: 1000}, Status: &status, Transition: &transition, At: time.Now().UTC(),
	}
	r.Must(store.Publish(r.Ctx, u, &log, outcome, ""))
	outcome.Outcome, outcome.Other = expectation.PaidTwice, &expectation.Payment{Provider: "sandbox", Account: "acme", Payment: "ana@example.com"}
	r.Must(store.Publish(r.Ctx, u, &log, outcome, ""))
	r.announce(store, "p-1", expectation.Expectation{Order: number})

	shown := r.run(ExitDone, "order", "show", "o-p-1", "--output", "json")
	if byPayment := r.run(ExitDone, "order", "show", "p-1", "--output", "json"); byPayment != shown {
		t.Errorf("by order:\n%s\nby payment:\n%s", shown, byPayment)
	}
	golden(t, "expected.json", shown)
	var line []Entry
	r.Must(json.Unmarshal([]byte(shown), &line))
	if last := line[len(line)-1]; last.What != whatExpected || last.At.IsZero() || last.Amount != nil || last.Version == version {
		t.Errorf("what is expected since the last announcement: %+v", last)
	}
	text := r.run(ExitDone, "order", "show", "p-1")
	for _, want := range []string{
		"outcome       amount_mismatch; 900 BRL until 2099-12-31T23:59:59Z for order o-p-1; paid 1000 BRL\n",
		"outcome       paid_twice; 900 BRL until 2099-12-31T23:59:59Z for order o-p-1; paid 1000 BRL; paid by sandbox/acme/~" + r.Tokens.Hash("ana@example.com") + " too\n",
		"expected      any sum until the default deadline for order o-p-1\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	r.announce(store, "p-1", expectation.Expectation{Withdrawn: true})
	if text := r.run(ExitDone, "order", "show", "p-1"); !strings.HasSuffix(text, "expected      withdrawn\n") {
		t.Errorf("after a withdrawal:\n%s", text)
	}
	r.plant(u.Expected(), "{")
	if text := r.run(ExitDone, "order", "show", "p-1"); !strings.Contains(text, "does not decode: sequence 4 on "+u.Expected()+"\n") {
		t.Errorf("an expectation that does not decode:\n%s", text)
	}
}

// A payment of which no webhook has come has nothing but its expectation, and the look-up that
// the role has parked.
func TestPaymentThatIsOnlyExpectedIsShown(t *testing.T) {
	t.Parallel()
	r := idle(t)
	store := r.expectations()
	r.announce(store, "p-9", expectation.Expectation{Order: "o-9"})
	if out := r.run(ExitDone, "order", "show", "p-9"); !strings.Contains(out, "sandbox/default/p-9  expected  any sum until the default deadline for order o-9\n") {
		t.Errorf("order show says %q", out)
	}
	r.run(ExitFailed, "order", "show", "o-9")
	r.run(ExitFailed, "replay", "--payment", "p-9")
	r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-9", Order: "o-9",
		Cause: order.CauseExpectation, Reason: string(order.CauseExpectation), DueAt: time.Now().Add(time.Hour).UTC(),
	}))
	if out := r.run(ExitDone, "order", "show", "o-9"); !strings.Contains(out, "  expected  ") || !strings.Contains(out, "  parked  ") {
		t.Errorf("by its order: %q", out)
	}

	const person, document = "ana@example.com", "52998224725"
	r.announce(store, person, expectation.Expectation{Order: document})
	unit := r.Unit(person)
	if out := r.run(ExitDone, "order", "show", person); strings.Contains(out, person) || strings.Contains(out, document) || !strings.Contains(out, unit.Payment) {
		t.Errorf("a personal id: %q", out)
	}
	cfg, err := config.Load(r.config, os.LookupEnv, providers.All)
	r.Must(err)
	d, err := Open(r.Ctx, r.JS, cfg, r.Tokens, "")
	r.Must(err)
	story, err := d.Story(r.Ctx, unit, 100)
	r.Must(err)
	if story.Payment != unit.Payment || story.Order != r.Tokens.Shown(document) || len(story.Entries) != 1 || len(r.Messages(subject.Expectations, subject.AllExpected)) != 2 {
		t.Errorf("the story is %+v", story)
	}
}
