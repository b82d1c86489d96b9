package lookup

import (
	"testing"

	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

func TestOnlyAccountsWithALookUpAreCounted(t *testing.T) {
	t.Parallel()
	with := provider.Account{Settings: map[string]string{"lookup_url": "https://provider.test/{order}"}}
	without := provider.Account{Settings: map[string]string{}}
	p, _ := providers.All.Get("beeteller")
	for want, accounts := range []map[string]provider.Account{
		{"a": without}, {"a": with, "b": without}, {"a": with, "b": with, "c": without},
	} {
		if got := len(hostsOf(p, accounts)); got != want {
			t.Errorf("%d of %d accounts are asked, want %d", got, len(accounts), want)
		}
	}
}
