package supervise

import (
	_ "embed"
	"fmt"
	"os"
	"strings"
	"text/template"
)

//go:embed arauto.yaml.tmpl
var settingsText string

// writeSettings writes the configuration that every role reads, with the
// addresses of this run and of the broker's monitoring. It is replaced in one
// step, because a role that is being started may read it at the same time.
func writeSettings(path string, a Addresses, monitor string) error {
	tmpl, err := template.New("settings").Option("missingkey=error").Parse(settingsText)
	if err != nil {
		return fmt.Errorf("parse configuration template: %w", err)
	}
	var text strings.Builder
	if err := tmpl.Execute(&text, struct {
		Addresses
		Monitor string
	}{a, monitor}); err != nil {
		return fmt.Errorf("fill in configuration: %w", err)
	}
	next := path + ".new"
	if err := os.WriteFile(next, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("replace configuration: %w", err)
	}
	return nil
}
