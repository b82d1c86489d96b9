package subject_test

import (
	"strings"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

func TestSubjectsOfAUnit(t *testing.T) {
	t.Parallel()
	tokens := keyed(t, key)
	u := tokens.Unit("picpay", "default", "a.b")
	w := tokens.Waiting("picpay", "default", "a.b")
	for got, want := range map[string]string{
		u.Notification():                   "notifications.picpay.default.a%2Eb",
		u.Status():                         "statuses.picpay.default.a%2Eb",
		u.Events():                         "orders.picpay.default.a%2Eb.>",
		u.Event("o-1", order.Paid):         "orders.picpay.default.a%2Eb.o-1.paid",
		u.OfOrder("o-1"):                   "order-payments.o-1.picpay.default.a%2Eb",
		u.DeadLetter("data", "lookup"):     "dead.data.lookup.picpay.default.a%2Eb",
		w.Parked():                         "lookup.parked.picpay.default." + tokens.Hash("a.b"),
		w.Due():                            "lookup.due.picpay.default." + tokens.Hash("a.b"),
		subject.Circuit("yapay", "a"):      "circuits.yapay.a",
		subject.CircuitChanged("*", "*"):   "circuits-changed.*.*",
		subject.Resumption("yapay", "a"):   "resumptions.yapay.a",
		subject.LookupConsumer("yapay"):    "lookup-yapay",
		subject.LookupDueConsumer("yapay"): "lookup-due-yapay",
	} {
		if got != want {
			t.Errorf("subject %q, want %q", got, want)
		}
	}
}

func TestShownNeverOutgrowsAHeaderNorShowsAPerson(t *testing.T) {
	t.Parallel()
	tokens := keyed(t, key)
	long := strings.Repeat("é", 5000)
	for _, id := range []string{long, "maria@example.com", "529.982.247-25", "3ds-52998224725"} {
		if got := tokens.Shown(id); got != tokens.Token(id) || !strings.HasPrefix(got, "~") {
			t.Errorf("shown as %q", got)
		}
	}
	if got := tokens.Shown("pedido 1/2"); got != "pedido 1/2" {
		t.Errorf("a plain id is shown as %q", got)
	}
	if err := subject.CheckID(strings.Repeat("x", subject.MaxID+1)); err == nil {
		t.Error("an id past the limit is accepted")
	}
	if err := subject.CheckID(strings.Repeat("x", subject.MaxID)); err != nil {
		t.Errorf("an id at the limit is refused: %v", err)
	}
}
