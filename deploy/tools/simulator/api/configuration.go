package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// Configuration is the providers' section of a configuration whose look-ups go to a
// simulator at url: every provider with every account.
func Configuration(url string) string {
	var b strings.Builder
	b.WriteString("providers:\n")
	for _, p := range providers.All {
		fmt.Fprintf(&b, "  %s:\n    accounts:\n", p.Name)
		credentials := "webhook_secrets"
		if p.Unsigned != "" {
			credentials = "path_keys"
		}
		for _, account := range accounts {
			fmt.Fprintf(&b, "      %s:\n        %s: [%s]\n        settings:\n", account, credentials, provider.OfAccount(account, p.Sample.Secret))
			for _, name := range slices.Sorted(maps.Keys(p.Sample.Settings)) {
				value := p.Sample.Settings[name]
				if at := strings.ReplaceAll(value, "{url}", url+"/"+p.Name); at != value {
					value = at
				} else {
					value = provider.OfAccount(account, value)
				}
				fmt.Fprintf(&b, "          %s: %s\n", name, value)
			}
		}
	}
	return b.String()
}
