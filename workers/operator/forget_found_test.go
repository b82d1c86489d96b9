package operator

import (
	"strings"
	"testing"
	"time"

	"arauto/schemas/expectation"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// A payment that is only expected has no document of a provider yet.
func TestForgetErasesAPaymentThatIsOnlyExpected(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.Publish(r.Unit("p-9").Expected(), expectation.Expectation{Order: "o-9"})
	out := r.run(ExitDone, "forget", "p-9", "--yes")
	if left := r.traces("p-9"); len(left) > 0 {
		t.Errorf("after %q there are still %v", out, left)
	}
}

// A payment that was paid beside the other one of its order is named in that one's outcome.
func TestForgetErasesWhatAnotherPaymentsOutcomeSaysOfIt(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.lived(person)
	number := "o-1"
	twice := expectation.Outcome{
		Provider: "sandbox", Account: "default", Payment: "p-1", Order: &number, Outcome: expectation.PaidTwice,
		Version: expectation.UnreadableVersion(nil), At: time.Now().UTC(), Other: &expectation.Payment{Provider: "sandbox", Account: "default", Payment: person},
	}
	r.Publish(r.Unit("p-1").Outcome(string(expectation.PaidTwice)), twice)
	if out := r.run(ExitDone, "forget", person); !strings.Contains(out, "2 of OUTCOMES") {
		t.Errorf("the dry run prints %s", out)
	}
	r.run(ExitDone, "forget", person, "--yes")
	if left := r.traces(person); len(left) > 0 {
		t.Errorf("there are still %v", left)
	}
	twice.Other.Payment = "p-2" // Of which nothing else is left.
	r.Publish(r.Unit("p-3").Outcome(string(expectation.PaidTwice)), twice)
	r.run(ExitDone, "forget", "p-2", "--yes")
	if left := r.traces("p-2"); len(left) > 0 {
		t.Errorf("of a payment that only an outcome names there are still %v", left)
	}
}

// Another payment whose reference at its provider is by chance the id of the erased one.
func TestForgetLeavesAPaymentWhoseReferenceIsTheId(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.lived("p-7")
	r.lived("p-8")
	r.refer("p-8", "p-7")
	r.Until("its unknown word to have a dead letter", func() bool {
		return r.last(subject.DeadLetters, r.Unit("p-8").DeadLetter(string(record.ClassProvider), record.StageNormalize)) != nil
	})
	before := r.traces("p-8")
	out := r.run(ExitDone, "forget", "p-7", "--yes")
	if left := r.traces("p-8"); len(left) != len(before) {
		t.Errorf("after %q there are %v of another payment", out, left)
	}
}
