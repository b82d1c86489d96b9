// Package config reads the one strict YAML file that configures every role.
//
// Whatever is wrong is reported at once, each problem with its file, line and
// what to write instead, because an operator should need one round and not
// five. Every scalar may be ${NAME} or ${NAME:-default}; a secret must be
// ${NAME} or {file: path}. A role needs, and reads, only its own secrets, so
// the gateway runs without look-up tokens and lookup without webhook secrets,
// and no command of an operator needs the headers of tracing.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"

	"go.yaml.in/yaml/v4"

	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/provider"
	"arauto/schemas/subject"
)

// The roles that have a section of their own. Load takes them by name.
const (
	RoleGateway   = "gateway"
	RoleLookup    = "lookup"
	RoleNormalize = "normalize"
	RoleSweep     = "sweep"
	RoleExpect    = "expect"
	RoleConsole   = "console"
)

// SectionTracing names to Load, beside its role, what a process that exports spans needs.
const SectionTracing = "tracing"

// maxFile bounds what is read of a configuration or secret file, in bytes, so that a wrong
// path such as that of a device cannot use up the memory.
const maxFile = 1 << 20

// Config is a configuration file that was read and is valid. It holds references to account
// secrets, not the secrets: the method of a role resolves the secrets that the role needs.
type Config struct {
	name      string
	file      file
	lines     map[string]int    // Where each key that is present stands, by path; "" is the file.
	origins   map[string]string // How a message shows each text of the file, by path.
	env       func(string) (string, bool)
	providers provider.Set
	accounts  []placed
	nats      NATS
	roles     []string
	contents  map[string][]byte // Of the file itself and of each secret file that was read while it was loaded.
	loading   bool              // Only then contents may change.
}

// Load reads and checks the file at path. env is os.LookupEnv or a stand-in;
// providers is the closed list that accounts are checked against. The secrets
// of the given roles are resolved too, so that their problems are reported
// together with those of the file; a name that is neither SectionTracing nor one of
// the Role constants needs no secret but that of the broker. The error is Problems.
func Load(path string, env func(string) (string, bool), providers provider.Set, roles ...string) (*Config, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, Problems{{File: path, Text: "cannot read the configuration: " + reason(err) + "; name an existing file with --config"}}
	}
	return parse(path, data, env, providers, roles...)
}

// parse is Load for a file that has been read.
func parse(name string, data []byte, env func(string) (string, bool), providers provider.Set, roles ...string) (*Config, error) {
	root, problem := document(name, data)
	if problem != nil {
		return nil, Problems{*problem}
	}
	c := &Config{name: name, file: defaults(), env: env, providers: providers, lines: map[string]int{"": 1}, origins: map[string]string{},
		roles: roles, contents: map[string][]byte{name: data}, loading: true}
	k := &checks{Config: c}
	if root != nil {
		k.decode(reflect.ValueOf(&c.file).Elem(), root, "", "")
	}
	k.check()
	c.nats = k.resolveNATS()
	for _, role := range roles {
		switch role {
		case RoleGateway:
			k.gateway()
		case RoleLookup:
			k.lookup()
		case RoleNormalize, RoleSweep:
			k.tokens()
		case RoleExpect:
			k.expect()
		case RoleConsole:
			k.console()
		case SectionTracing:
			k.tracing()
		}
	}
	if err := k.problems.orNil(); err != nil {
		return nil, err
	}
	c.loading = false
	return c, nil
}

// document parses data as at most one YAML document, nil when it is empty.
func document(name string, data []byte) (*yaml.Node, *Problem) {
	var documents [2]yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	for i := range documents {
		if err == nil {
			err = loader.Load(&documents[i])
		}
	}
	first, second := documents[0], documents[1]
	switch {
	case err == nil:
		return nil, &Problem{File: name, Line: max(second.Line, 1), Text: "a second document begins; write everything in one document, without ---"}
	case !errors.Is(err, io.EOF):
		p := syntaxProblem(name, data, err)
		return nil, &p
	case len(first.Content) == 0:
		return nil, nil
	}
	return first.Content[0], nil
}

// Local reports whether the file is for one developer's machine: literal and
// weak secrets, plain http and plain nats are accepted there.
func (c *Config) Local() bool { return c.file.Profile == profileLocal }

// Admin returns the address of the role's admin listener, "" for a role
// without a section.
func (c *Config) Admin(role string) string { return c.admins()[role] }

func (c *Config) admins() map[string]string {
	f := &c.file
	return map[string]string{RoleGateway: f.Gateway.Admin, RoleLookup: f.Lookup.Admin, RoleNormalize: f.Normalize.Admin, RoleSweep: f.Sweep.Admin, RoleExpect: f.Expect.Admin, RoleConsole: f.Console.Admin}
}

// Durability is what the gateway's 200 is claimed to survive.
func (c *Config) Durability() durability.Claim {
	claimed, _ := durability.Parse(c.file.Gateway.Durability) // A loaded file has been checked.
	return claimed
}

// Refuse is a problem at a key that only showed once the process ran, such as
// gateway.durability; text says what is wrong and what to write instead. A
// role that returns it ends with the exit code of a refused configuration.
func (c *Config) Refuse(key, text string) error {
	k := &checks{Config: c}
	k.refuse(key, text)
	return k.problems
}

// NATS says how to reach the broker.
func (c *Config) NATS() NATS { return c.nats }

// Topology sizes the streams, and divides the known providers by whether they have an account.
func (c *Config) Topology() topology.Settings {
	s := topology.Settings{Replicas: c.file.Topology.Replicas, Store: int64(c.file.Topology.Store)}
	for _, name := range c.providers.Names() {
		if len(c.AccountNames(name)) > 0 {
			s.Providers = append(s.Providers, name)
		} else {
			s.Others = append(s.Others, name)
		}
	}
	return s
}

// Tokens resolves hash_key: at least 32 bytes, 16 with profile local. The error is
// Problems.
func (c *Config) Tokens() (subject.Tokens, error) { return resolved(c, (*checks).tokens) }

// Gateway resolves the webhook secrets and path keys, and nothing else. The
// error is Problems.
func (c *Config) Gateway() (Gateway, error) { return resolved(c, (*checks).gateway) }

// Lookup resolves the look-up settings of the accounts that it serves, and
// nothing else. The error is Problems.
func (c *Config) Lookup() (Lookup, error) { return resolved(c, (*checks).lookup) }

// Normalize resolves no secret of any account. The error is Problems.
func (c *Config) Normalize() (Normalize, error) { return resolved(c, (*checks).normalize) }

// Sweep resolves no secret of any account. The error is Problems.
func (c *Config) Sweep() (Sweep, error) { return resolved(c, (*checks).sweep) }

// Expect resolves the secret of its HTTP route, and none of any account. The error is
// Problems.
func (c *Config) Expect() (Expect, error) { return resolved(c, (*checks).expect) }

// Console resolves the secret of its second user at the broker, and none of any account. The
// error is Problems.
func (c *Config) Console() (Console, error) { return resolved(c, (*checks).console) }

func resolved[T any](c *Config, resolve func(*checks) T) (T, error) {
	k := &checks{Config: c}
	section := resolve(k)
	return section, k.problems.orNil()
}

// Redacted is the effective configuration as YAML: defaults applied, every
// secret as ***, account settings from the environment by variable name.
func (c *Config) Redacted() string {
	out, err := yaml.Dump(c.file, yaml.WithV3Defaults())
	if err != nil { // Only a type that YAML cannot hold could cause it, and file has none.
		return "unprintable: " + err.Error()
	}
	return string(out)
}

// beside resolves a path of the file against the file's own folder, so that
// the meaning does not depend on where a process was started.
func (c *Config) beside(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(c.name), path)
}

// readBounded reads a regular-sized file.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // Nothing was written.
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %s", Size(maxFile))
	}
	return data, err
}

// reason is err without the path, which the problem names already.
func reason(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
