package supervise

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The roles that a supervisor can start. The name is also that of the binary
// and of the log file.
const (
	Gateway   = "gateway"
	Lookup    = "lookup"
	Normalize = "normalize"
	Sweep     = "sweep"
	Expect    = "expect"
	Console   = "console"
	Simulator = "simulator"
)

// Roles lists every role in the order of the flow, what makes messages first. They are
// stopped in this order and started in the opposite one.
func Roles() []string { return []string{Simulator, Gateway, Sweep, Expect, Lookup, Normalize, Console} }

// Addresses say where each part listens, as host:port. Port 0 is any free port, which
// Options.Listening gets.
type Addresses struct {
	NATS      string // The broker, for any NATS client.
	Gateway   string // Where webhooks are posted to.
	Admin     string // /readyz, /healthz and /metrics of everything, and the gateway's /durability.
	Simulator string // The providers' look-up APIs and the control calls.
	Console   string // The pages for people.
}

// DefaultAddresses are those that the README's commands use.
func DefaultAddresses() Addresses {
	return Addresses{
		NATS: "127.0.0.1:4222", Gateway: "127.0.0.1:8080",
		Admin: "127.0.0.1:9090", Simulator: "127.0.0.1:8090", Console: "127.0.0.1:8070",
	}
}

// Options say what to run and where.
type Options struct {
	Dir       string // Data, state, logs and configuration; made when missing.
	BinDir    string // Where the binaries are, named like their roles.
	Addresses Addresses
	Roles     []string      // What to start beside the broker; none means all of Roles.
	DemoEvery time.Duration // Pause between two steps of demo traffic; 0 for none.
	Env       []string      // Environment of the children and of ${NAME} in the configuration; nil means this process's own.
	Stdout    io.Writer     // The terminal: what runs where, order events, warnings. nil shows nothing.

	Listening func(Addresses) // Called when every address is open; connections wait for the children. May be nil.
	Ready     func()          // Called when everything is ready for the first time. May be nil.
	Abort     context.Context // Kills the children when it ends. nil never does.
}

// ParseRoles reads a list of roles such as "gateway,lookup"; empty means all.
func ParseRoles(list string) ([]string, error) {
	if strings.TrimSpace(list) == "" {
		return Roles(), nil
	}
	chosen := strings.Split(list, ",")
	for i, name := range chosen {
		chosen[i] = strings.TrimSpace(name)
		if !slices.Contains(Roles(), chosen[i]) {
			return nil, fmt.Errorf("there is no role %q; the roles are %s", chosen[i], strings.Join(Roles(), ", "))
		}
	}
	return slices.DeleteFunc(Roles(), func(role string) bool { return !slices.Contains(chosen, role) }), nil
}

// ParseDemo reads the pause between two steps of demo traffic: a duration,
// "off" for no traffic, or "on" or nothing for one step per second.
func ParseDemo(value string) (time.Duration, error) {
	switch value {
	case "", "on":
		return time.Second, nil
	case "off":
		return 0, nil
	}
	every, err := time.ParseDuration(value)
	if err != nil || every <= 0 {
		return 0, fmt.Errorf("%q is neither on, off nor a pause such as 500ms", value)
	}
	return every, nil
}

// checked fills in what was left out and refuses what cannot work.
func (o Options) checked() (_ Options, err error) {
	if o.BinDir, err = filepath.Abs(o.BinDir); err != nil {
		return o, fmt.Errorf("resolve folder of binaries: %w", err)
	}
	if o.Roles, err = ParseRoles(strings.Join(o.Roles, ",")); err != nil {
		return o, err
	}
	for _, role := range o.Roles {
		if _, err := os.Stat(filepath.Join(o.BinDir, role)); err != nil {
			return o, fmt.Errorf("find binary of %s (make build makes it): %w", role, err)
		}
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	if o.Abort == nil {
		o.Abort = context.Background()
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	return o, nil
}

func (o Options) logDir() string     { return filepath.Join(o.Dir, "log") }
func (o Options) configFile() string { return filepath.Join(o.Dir, "arauto.yaml") }
