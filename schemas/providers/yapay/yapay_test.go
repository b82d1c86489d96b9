package yapay_test

import (
	"testing"

	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers/yapay"
)

func FuzzRead(f *testing.F) { providertest.FuzzRead(f, yapay.Provider, providertest.Dir("testdata")) }

func FuzzAnswer(f *testing.F) {
	providertest.FuzzAnswer(f, yapay.Provider, providertest.Dir("testdata"))
}
