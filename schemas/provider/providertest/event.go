package providertest

import (
	"encoding/json"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/schematest"
)

// firstEvent proves that the fixture's fact starts a legal log.
func (c *fixture) firstEvent(t *testing.T) {
	t.Helper()
	f, err := c.fact()
	if err != nil {
		return
	}
	n := c.notice(t)
	if f.Kind != n.Kind {
		t.Errorf("fact is a %s, the notice a %s", f.Kind, n.Kind)
	}
	announced(t, c.p.Name, n.Payment, f)
}

// announced folds f as a payment's first observation and validates the event
// as it would be published.
func announced(t *testing.T, name, payment string, f order.Fact) {
	t.Helper()
	if f.ProviderReference != provider.Code(f.ProviderReference) {
		t.Errorf("the provider's reference %q did not pass provider.Code", f.ProviderReference)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	o := order.Observation{
		Provider: name, Account: "default", Kind: f.Kind, Payment: payment, Order: f.Order,
		ProviderReference: f.ProviderReference, Status: f.Status, ProviderStatus: f.ProviderStatus,
		Reason: f.Reason, Amount: f.Amount, OccurredAt: f.OccurredAt, AnsweredAt: at,
	}
	after, outcome := order.Standing{}.Fold(o, at)
	if outcome != order.Applied {
		t.Fatalf("fact with status %q is %s as the first", f.Status, outcome)
	}
	if _, outcome := after.Fold(o, at.Add(time.Second)); outcome != order.Unchanged {
		t.Errorf("fact with status %q is %s when it is observed again, as after an exact replay of its webhook", f.Status, outcome)
	}
	raw, err := json.Marshal(order.Announce(nil, o, 1, after))
	if err != nil {
		t.Fatalf("write event: %v", err)
	}
	if err := schematest.Event(raw); err != nil {
		t.Errorf("event %s: %v", raw, err)
	}
}
