package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	_ "embed" // The configuration is a template.
)

// Told is how a subcommand that serves says where: its address or URL.
type Told struct {
	Address string `json:"address"`
	Monitor string `json:"monitor,omitempty"` // Of a broker.
}

// Say writes a Told, as Lines reads it.
func Say(address string) error { return say(Told{Address: address}) }

// SayBroker is Say of a broker, with its monitoring address.
func SayBroker(url, monitor string) error { return say(Told{url, monitor}) }

func say(t Told) error {
	line, err := json.Marshal(t)
	if err == nil {
		_, err = os.Stdout.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("say the address: %w", err)
	}
	return nil
}

// Server is a process that answers at an address.
type Server struct {
	*Process
	Address string // host:port, or the URL of the broker.
	Admin   string // host:port of its metrics, "" without.
	Monitor string // URL of a broker's monitoring, "" for others.
	Sync    string // Policy of a broker.
}

// Broker starts a broker with an empty store and the given sync policy, which
// stages batches in memory where there is some for it.
func (f *Fleet) Broker(ctx context.Context, sync string) (Server, error) {
	if f.Memory == "" {
		return f.BrokerOnDisk(ctx, sync)
	}
	stage, err := os.MkdirTemp(f.Memory, "")
	if err != nil {
		return Server{}, fmt.Errorf("make folder: %w", err)
	}
	s, err := f.broker(ctx, sync, "-stage", stage)
	if err == nil {
		s.own = append(s.own, stage)
	}
	return s, err
}

// BrokerOnDisk is Broker with nothing in memory.
func (f *Fleet) BrokerOnDisk(ctx context.Context, sync string) (Server, error) {
	return f.broker(ctx, sync)
}

// broker runs the subcommand with a folder of its own.
func (f *Fleet) broker(ctx context.Context, sync string, flags ...string) (Server, error) {
	dir, err := f.Folder()
	if err != nil {
		return Server{}, err
	}
	s, err := f.server(ctx, append([]string{"broker", "-dir", dir, "-sync", sync}, flags...)...)
	if err == nil {
		s.own, s.Sync = []string{dir}, sync
	}
	return s, err
}

// Rival starts one of the rivals.
func (f *Fleet) Rival(ctx context.Context, name string, broker Server) (Server, error) {
	return f.server(ctx, "rival", "-name", name, "-broker", broker.Address)
}

func (f *Fleet) server(ctx context.Context, args ...string) (Server, error) {
	p, err := f.Self(ctx, args...)
	if err != nil {
		return Server{}, err
	}
	var told Told
	if err := p.Lines(ctx, func(string) {}, &told); err != nil {
		p.End()
		return Server{}, err
	}
	return Server{Process: p, Address: told.Address, Monitor: told.Monitor}, nil
}

// configuration is that of every role.
//
//go:embed arauto.yaml.tmpl
var configuration string

// Configure writes the configuration of all roles for a broker and, if there
// is one, a simulator, and returns its file.
func (f *Fleet) Configure(broker, simulator Server) (string, error) {
	dir, err := f.Folder()
	if err != nil {
		return "", err
	}
	t, err := template.New("arauto.yaml").Parse(configuration)
	if err != nil {
		return "", fmt.Errorf("read configuration: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, map[string]string{
		"Broker": broker.Address, "Monitor": broker.Monitor, "Sync": broker.Sync, "Simulator": simulator.Address,
	}); err != nil {
		return "", fmt.Errorf("fill configuration: %w", err)
	}
	name := filepath.Join(dir, "arauto.yaml")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	return name, nil
}

// Start runs a role with the configuration and waits until it is ready.
// Sockets are named as the role knows them; the first is its Address, one
// called admin is its Admin.
func (f *Fleet) Start(ctx context.Context, role string, args []string, sockets ...string) (Server, error) {
	opened, err := Listen(sockets...)
	defer Release(opened)
	if err != nil {
		return Server{}, err
	}
	p, err := f.Role(ctx, role, opened, args...)
	if err != nil {
		return Server{}, err
	}
	s := Server{Process: p, Address: opened[0].Address}
	for _, socket := range opened {
		if socket.Name == "admin" {
			s.Admin = socket.Address
		}
	}
	ready := s.Admin
	if ready == "" {
		ready = s.Address
	}
	if err := p.awaitReady(ctx, ready); err != nil {
		p.End()
		return Server{}, err
	}
	return s, nil
}

// Gateway starts the gateway.
func (f *Fleet) Gateway(ctx context.Context, config string) (Server, error) {
	return f.Start(ctx, "gateway", []string{"-config", config}, "gateway", "admin")
}

// Worker starts a role that only has an admin listener.
func (f *Fleet) Worker(ctx context.Context, role, config string) (Server, error) {
	return f.Start(ctx, role, []string{"-config", config}, "admin")
}

// Simulator starts the simulated providers.
func (f *Fleet) Simulator(ctx context.Context) (Server, error) {
	return f.Start(ctx, "simulator", nil, "simulator")
}
