package picpaysubscriptions_test

import (
	"errors"
	"net/url"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers/picpaysubscriptions"
)

func FuzzRead(f *testing.F) {
	providertest.FuzzRead(f, picpaysubscriptions.Provider, providertest.Dir("testdata"))
}

func FuzzVerify(f *testing.F) {
	providertest.FuzzVerify(f, picpaysubscriptions.Provider, providertest.Dir("testdata"))
}

func TestWordsMeanWhatTheDocumentsSay(t *testing.T) {
	t.Parallel()
	providertest.Words(t, picpaysubscriptions.Provider, order.Payment, map[order.Status]string{
		order.Paid: "payment_processed", order.InAnalysis: "under_analysis", order.Pending: "payment_delayed",
		order.Authorized: "active pending_cancellation", order.Canceled: "cancelled",
	})
}

// The file declares the envelope's fields as query parameters.
func TestEnvelopeMayStandInTheQuery(t *testing.T) {
	t.Parallel()
	query := url.Values{
		"event_type": {"payment_processed"}, "date": {"2021-09-17T14:48:04-03:00"}, "event_id": {"b89eaac7e61417341b710b727768294d0e6a277b"},
		"event": {`{"subscription_id":"s-1","transaction_id":"t-1","value":19.9}`},
	}
	n, err := picpaysubscriptions.Provider.Notices(provider.Webhook{Query: query, Header: provider.HeaderMap{}})
	if err != nil || n[0].Payment != "t-1" || n[0].Order != "s-1" || n[0].Fields["value"] != "19.9" {
		t.Errorf("it is read as %+v, %v", n, err)
	}
	body := provider.Webhook{Query: query, Body: []byte(`{"event_type":"payment_processed","event":{"transaction_id":"t-2"}}`)}
	if n, err := picpaysubscriptions.Provider.Notices(body); err != nil || n[0].Payment != "t-2" {
		t.Errorf("beside a body it is read as %+v, %v", n, err)
	}
	for _, event := range []string{`{"transaction_id":"t-1"`, `[]`, `{"transaction_id":"t-1"},"event_type":"x"`, ``} {
		query.Set("event", event)
		if n, err := picpaysubscriptions.Provider.Notices(provider.Webhook{Query: query}); !errors.Is(err, provider.ErrInvalid) {
			t.Errorf("the event %q is read as %+v, %v", event, n, err)
		}
	}
}
