package beeteller_test

import (
	"testing"

	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers/beeteller"
)

func FuzzRead(f *testing.F) {
	providertest.FuzzRead(f, beeteller.Provider, providertest.Dir("testdata"))
}

func FuzzAnswer(f *testing.F) {
	providertest.FuzzAnswer(f, beeteller.Provider, providertest.Dir("testdata"))
}
