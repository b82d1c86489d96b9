package expectations_test

import (
	"testing"
	"time"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/expectation"
	"arauto/schemas/subject"
	"arauto/workers/internal/expectations"
)

func TestOutcomeOfAStaleProcessIsNotPublished(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	store, err := expectations.Open(b.Ctx, b.JS, b.Tokens, "")
	b.Must(err)
	u, number := b.Unit("p"), "o"
	o := expectation.Outcome{
		Provider: "sandbox", Account: "default", Payment: "p", Order: &number, Outcome: expectation.Met,
		Version: expectation.UnreadableVersion(nil), At: time.Now().UTC(),
	}
	before, err := store.Log(b.Ctx, u)
	b.Must(err)
	first, second, third := before, before, before
	b.Must(store.Publish(b.Ctx, u, &first, o, ""))
	if err := store.Publish(b.Ctx, u, &second, o, ""); !stream.IsConflict(err) {
		t.Errorf("the same outcome again: %v", err)
	}
	probe := o
	probe.Payment = "other"
	b.ForgetIDs(subject.Outcomes, b.Unit("other").Outcome("met"), probe)
	if err := store.Publish(b.Ctx, u, &third, o, ""); !stream.IsConflict(err) {
		t.Errorf("once the broker has forgotten its id: %v", err)
	}
	after, err := store.Log(b.Ctx, u)
	b.Must(err)
	if len(after.Outcomes) != 1 || after.Sequence != first.Sequence {
		t.Errorf("the log is %+v", after)
	}
}

// A replaced expectation has another sequence, so that removing the one that was judged
// leaves it.
func TestRemovingAnExpectationLeavesALaterOne(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	store, err := expectations.Open(b.Ctx, b.JS, b.Tokens, "")
	b.Must(err)
	on := b.Unit("p").Expected()
	judged := b.Publish(on, expectation.Expectation{Order: "o"})
	later := b.Publish(on, expectation.Expectation{Order: "o-2"})
	b.Must(store.Remove(b.Ctx, judged))
	all := b.Messages(subject.Expectations, on)
	if len(all) != 1 || all[0].Sequence != later {
		t.Fatalf("%d expectations are left", len(all))
	}
	b.Must(store.Remove(b.Ctx, later))
	b.Must(store.Remove(b.Ctx, later)) // As after a crash.
	if all := b.Messages(subject.Expectations, on); len(all) != 0 {
		t.Errorf("%d expectations are left", len(all))
	}
}
