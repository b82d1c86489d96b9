package sandbox_test

import (
	"testing"

	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers/sandbox"
)

func FuzzRead(f *testing.F) { providertest.FuzzRead(f, sandbox.Provider, providertest.Dir("testdata")) }

func FuzzAnswer(f *testing.F) {
	providertest.FuzzAnswer(f, sandbox.Provider, providertest.Dir("testdata"))
}
