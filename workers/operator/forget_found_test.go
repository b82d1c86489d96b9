package operator

import (
	"testing"

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
