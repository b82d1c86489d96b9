package yapay_test

import (
	"errors"
	"net/http"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers/yapay"
)

// Yapay's own code tells of the seller's token. A bare 401 may be an edge's.
func TestOnlyTheSellerTokensCodeIsAboutEveryPayment(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`{"message_response":{"message":"error"},"error_response":{"general_errors":[{"code":"001001"}]}}`: true,
		`{}`: false,
	} {
		_, err := yapay.Provider.Answer(provider.Target{}, provider.Account{}, provider.Reply{Status: http.StatusUnauthorized, Body: []byte(body)})
		if !errors.Is(err, provider.ErrCredential) || errors.Is(err, provider.ErrRevoked) != want {
			t.Errorf("%s gives %v, about every payment: want %v", body, err, want)
		}
	}
}

func FuzzRead(f *testing.F) { providertest.FuzzRead(f, yapay.Provider, providertest.Dir("testdata")) }

func FuzzAnswer(f *testing.F) {
	providertest.FuzzAnswer(f, yapay.Provider, providertest.Dir("testdata"))
}

func TestWordsMeanWhatTheDocumentsSay(t *testing.T) {
	t.Parallel()
	providertest.Words(t, yapay.Provider, order.Payment, map[order.Status]string{
		order.Pending: "4 88 184", order.Processing: "5", order.InAnalysis: "87", order.Paid: "6",
		order.Disputed: "24", order.Canceled: "7", order.Refused: "89",
	})
}
