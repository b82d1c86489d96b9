package subject_test

import (
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
		u.DeadLetter("data", "lookup"):     "dead.data.lookup.picpay.default.a%2Eb",
		w.Parked():                         "lookup.parked.picpay.default." + tokens.Hash("a.b"),
		w.Due():                            "lookup.due.picpay.default." + tokens.Hash("a.b"),
		subject.LookupConsumer("yapay"):    "lookup-yapay",
		subject.LookupDueConsumer("yapay"): "lookup-due-yapay",
	} {
		if got != want {
			t.Errorf("subject %q, want %q", got, want)
		}
	}
}
