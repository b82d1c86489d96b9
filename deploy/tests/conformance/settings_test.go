package conformance_test

import (
	"fmt"
	"strings"
	"testing"

	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

const (
	settingsBegin = "<!-- settings: `make docs` writes them from schemas/providers -->\n"
	settingsEnd   = "<!-- end of the settings -->\n"
)

// TestSettingsTableIsTheCode holds the table of CONFIGURING.md to the adapters.
func TestSettingsTableIsTheCode(t *testing.T) {
	t.Parallel()
	want := "| provider | setting | without it | it is |\n|---|---|---|---|\n"
	for _, p := range providers.All {
		for _, s := range p.Settings {
			want += settingRow(t, p.Name, s)
		}
		if len(p.Settings) == 0 {
			want += fmt.Sprintf("| `%s` | none | | |\n", p.Name)
		}
	}
	holds(t, "deploy/CONFIGURING.md", settingsBegin, want, settingsEnd)
}

// settingRow is a setting's line in the table.
func settingRow(t *testing.T, provider string, s provider.Setting) string {
	t.Helper()
	name, without := "`"+s.Name+"`", "nothing"
	if s.Secret {
		name += " (secret)"
	}
	switch {
	case s.Default != "":
		without = "`" + s.Default + "`"
	case s.Required:
		without = "refused"
	}
	if s.Help == "" || strings.ContainsAny(s.Help, "|\n") {
		t.Errorf("the setting %s of %s has the help %q, which fits no cell of a table", s.Name, provider, s.Help)
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", provider, name, without, s.Help)
}
