package sandbox_test

import (
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers/sandbox"
)

func FuzzRead(f *testing.F) { providertest.FuzzRead(f, sandbox.Provider, providertest.Dir("testdata")) }

func FuzzAnswer(f *testing.F) {
	providertest.FuzzAnswer(f, sandbox.Provider, providertest.Dir("testdata"))
}

func TestWordsMeanWhatTheDocumentsSay(t *testing.T) {
	t.Parallel()
	providertest.Words(t, sandbox.Provider, order.Payment, map[order.Status]string{
		order.Pending: "pending", order.Processing: "processing", order.InAnalysis: "in_analysis", order.Authorized: "authorized",
		order.Paid: "paid", order.Settled: "settled", order.PartiallyRefunded: "partially_refunded", order.Refunded: "refunded",
		order.Disputed: "disputed", order.ChargedBack: "charged_back", order.Expired: "expired", order.Canceled: "canceled",
		order.Refused: "refused", order.Failed: "failed",
	})
}
