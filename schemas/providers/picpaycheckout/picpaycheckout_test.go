package picpaycheckout_test

import (
	"testing"

	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers/picpaycheckout"
)

func FuzzRead(f *testing.F) {
	providertest.FuzzRead(f, picpaycheckout.Provider, providertest.Dir("testdata"))
}

func FuzzAnswer(f *testing.F) {
	providertest.FuzzAnswer(f, picpaycheckout.Provider, providertest.Dir("testdata"))
}
