package lookup_test

import (
	"net/http"
	"strings"
	"testing"

	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

// A limit of a hundred bytes is reached by the first scheduled look-up.
func TestFullStoreRefusesFurtherLookUps(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	r.handle(r.notify("parked"))
	r.retries.SetLimit(100, 0)
	fresh := r.notify("fresh")
	r.handle(fresh)
	deadLetters := r.deadLetters()
	if len(deadLetters) != 1 || deadLetters[0].Sequence != fresh.Sequence || deadLetters[0].Class != record.ClassProvider ||
		deadLetters[0].LastAnswer != "unavailable" || !strings.Contains(deadLetters[0].Cause, retry.ErrFull.Error()) {
		t.Errorf("dead letters are %+v", deadLetters)
	}
	r.fire("parked") // It takes no further bytes.
	later := r.notify("parked")
	r.handle(later) // Nor does this.
	if p := r.entry("parked"); p.Attempts != 1 || p.Covers != later.Sequence || len(r.deadLetters()) != 1 {
		t.Errorf("parked is %+v, dead letters are %+v", p, r.deadLetters())
	}
}

// Known payments are scheduled when others are refused.
func TestFullStoreTakesKnownPayments(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.says("refunded", 10000, 10000)
	r.handle(r.notify("known"))
	r.fails(http.StatusBadGateway)
	r.handle(r.notify("parked"))
	r.retries.SetLimit(r.bytes()*100/85, 0)
	r.handle(r.notify("fresh"))
	r.handle(r.notify("known"))
	if deadLetters := r.deadLetters(); len(deadLetters) != 1 || deadLetters[0].Payment != "fresh" || r.parked("known").Sequence == 0 {
		t.Errorf("dead letters are %+v, parked is %+v", deadLetters, r.parked("known"))
	}
}

// So the store empties, whatever filled it.
func TestFullStoreDeadLettersUnknownPayments(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	m := r.notify("p")
	r.handle(m)
	r.handle(r.notify("q"))
	r.retries.SetLimit(100, 0)
	r.fire("p")
	deadLetters := r.deadLetters()
	if len(deadLetters) != 1 || deadLetters[0].Sequence != m.Sequence || deadLetters[0].Class != record.ClassData || r.parked("p").Sequence != 0 {
		t.Errorf("dead letters are %+v, parked is %+v", deadLetters, r.parked("p"))
	}
}
