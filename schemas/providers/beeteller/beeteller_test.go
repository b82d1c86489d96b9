package beeteller_test

import (
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers/beeteller"
)

func FuzzRead(f *testing.F) {
	providertest.FuzzRead(f, beeteller.Provider, providertest.Dir("testdata"))
}

func FuzzAnswer(f *testing.F) {
	providertest.FuzzAnswer(f, beeteller.Provider, providertest.Dir("testdata"))
}

func TestWordsMeanWhatTheDocumentsSay(t *testing.T) {
	t.Parallel()
	providertest.Words(t, beeteller.Provider, order.Payout, map[order.Status]string{
		order.Pending: "INITIALIZED", order.Processing: "PROCESSING", order.Paid: "PAID",
		order.Expired: "EXPIRED", order.Refused: "REFUSED REJECTED",
	})
}
