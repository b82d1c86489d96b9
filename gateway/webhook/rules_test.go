package webhook

import (
	"slices"
	"testing"

	"arauto/schemas/provider"
)

// TestEveryRuleBelongsToACode holds the series of arauto_webhooks_total complete from the
// start.
func TestEveryRuleBelongsToACode(t *testing.T) {
	t.Parallel()
	var all []provider.Rule
	for _, c := range codes() {
		if len(c.rules()) == 0 {
			t.Errorf("code %s has no rule", c.label())
		}
		all = append(all, c.rules()...)
	}
	for _, rule := range provider.Rules() {
		if !slices.Contains(all, rule) {
			t.Errorf("no code has the rule %s", rule)
		}
	}
}
