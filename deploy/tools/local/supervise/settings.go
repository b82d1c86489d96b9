package supervise

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"strings"
	"text/template"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/topology"
	"arauto/deploy/tools/simulator/api"
	"arauto/schemas/providers"
)

//go:embed arauto.yaml.tmpl
var settingsText string

var settings = template.Must(template.New("settings").Option("missingkey=error").Parse(settingsText))

// writeSettings writes the configuration that every role reads, with the addresses of this
// run and of the broker's monitoring.
func writeSettings(path string, a Addresses, monitor string) error {
	var text bytes.Buffer
	err := settings.Execute(&text, struct {
		Addresses
		Monitor, Providers string
	}{a, monitor, api.Configuration("http://" + a.Simulator)})
	if err == nil {
		err = os.WriteFile(path, text.Bytes(), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// configure writes the configuration, reads it as a role would, and brings the broker to
// the topology that it describes.
func (s *supervisor) configure(ctx context.Context) error {
	if err := writeSettings(s.configFile(), s.Addresses, "http://"+s.broker.MonitorAddr().String()); err != nil {
		return err
	}
	env := map[string]string{}
	for _, pair := range s.Env {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	cfg, err := config.Load(s.configFile(), lookup, providers.All, Gateway, Lookup, Normalize, Sweep, Expect, Console)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if s.tokens, err = cfg.Tokens(); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if _, err := topology.Apply(ctx, s.js, cfg.Topology()); err != nil {
		return fmt.Errorf("apply topology: %w", err)
	}
	return nil
}
