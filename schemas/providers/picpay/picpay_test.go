package picpay_test

import (
	"errors"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers/picpay"
)

func FuzzRead(f *testing.F) {
	providertest.FuzzRead(f, picpay.Provider, providertest.Dir("testdata"))
}

func FuzzAnswer(f *testing.F) {
	providertest.FuzzAnswer(f, picpay.Provider, providertest.Dir("testdata"))
}

func TestReferenceIDWinsOverPaymentID(t *testing.T) {
	t.Parallel()
	n, err := picpay.Provider.Read(provider.Webhook{Body: []byte(`{"paymentId":"from-vtex","referenceId":"ours"}`)})
	if err != nil || n[0].Payment != "ours" {
		t.Errorf("read gives %+v, %v", n, err)
	}
}

func TestTheTokenOfTheOtherDirectionIsNoCredential(t *testing.T) {
	t.Parallel()
	w := provider.Webhook{Header: provider.HeaderMap{"x-picpay-token": {"secret"}}}
	if _, err := picpay.Provider.Verify(w, []string{"secret"}); !errors.Is(err, provider.ErrNoCredential) {
		t.Errorf("verify gives %v", err)
	}
}

func TestWordsMeanWhatTheDocumentsSay(t *testing.T) {
	t.Parallel()
	providertest.Words(t, picpay.Provider, order.Payment, map[order.Status]string{
		order.Pending: "created pending", order.InAnalysis: "analysis", order.Authorized: "authorized",
		order.Paid: "paid captured", order.Settled: "completed", order.Refunded: "refunded",
		order.ChargedBack: "chargeback", order.Expired: "expired",
	})
}
