package conformance_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/providers"
	"arauto/workers/operator"
)

// printed is what a command prints that needs no configuration.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	var out, problems bytes.Buffer
	none := func(string) (string, bool) { return "", false }
	if code := operator.Run(t.Context(), args, none, &out, &problems); code != operator.ExitDone {
		t.Fatalf("arauto %q: code %d, %s", args, code, problems.String())
	}
	return out.String()
}

// exampleText is arauto.example.yaml with all providers that there are.
func exampleText(t *testing.T) string {
	t.Helper()
	rest, _, found := strings.Cut(read(t, "deploy/arauto.example.yaml"), "\nproviders:\n")
	if !found {
		t.Fatal("arauto.example.yaml has no providers")
	}
	return rest + "\n" + printed(t, "example")
}

// example is a file with exampleText.
func example(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "arauto.yaml")
	if err := os.WriteFile(file, []byte(exampleText(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// providerVariables are those that a role reads for providers.
func providerVariables(t *testing.T, role string) []string {
	t.Helper()
	return names(documented, printed(t, "example", "--env", role))
}

func TestExampleShowsProvidersAsTheCommandPrintsThem(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(read(t, "deploy/arauto.example.yaml"), "\nproviders:\n")
	shown := 0
	for _, p := range providers.All {
		_, block, _ := strings.Cut(printed(t, "example", "--provider", p.Name), "\n")
		if strings.Contains(section, block) {
			shown++
			section = strings.Replace(section, block, "", 1)
		}
	}
	if shown < 2 || strings.TrimSpace(section) != "" {
		t.Errorf("of %d providers this is not what `arauto example` prints:\n%s", shown, section)
	}
}

// sections are the roles that the configuration knows. The service of the
// topology has none: it needs the broker only.
var sections = []string{config.RoleGateway, config.RoleLookup, config.RoleNormalize, config.RoleSweep, config.RoleExpect, config.RoleConsole}

// environment is a set of variables that keeps who asked for which.
type environment struct {
	values map[string]string
	asked  map[string]bool
}

func (e environment) get(name string) (string, bool) {
	e.asked[name] = true
	value, ok := e.values[name]
	return value, ok
}

func environmentOf(values map[string]string) environment {
	return environment{values: values, asked: map[string]bool{}}
}

// filled is a value for every variable of .env.example, each of its own.
func filled(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, name := range slices.Concat(names(documented, read(t, "deploy/.env.example")), providerVariables(t, config.RoleGateway), providerVariables(t, config.RoleLookup)) {
		values[name] = "value-of-the-example-" + strings.ToLower(name)
	}
	for name := range values {
		if strings.HasSuffix(name, "_URL") {
			values[name] = "https://provider.example.com"
		}
	}
	values["NATS_URL"] = "nats://nats-1:4222,nats://nats-2:4222"
	values["NATS_PLAINTEXT"], values["GATEWAY_PLAINTEXT"] = "private-network", "behind-tls-proxy"
	values["NATS_MONITOR_URL"] = "http://nats-1:8222,http://nats-2:8222"
	values["GATEWAY_LISTEN"], values["ADMIN_LISTEN"] = "0.0.0.0:8080", "0.0.0.0:9090"
	values["CONSOLE_LISTEN"], values["CONSOLE_PLAINTEXT"], values["CONSOLE_HOST"] = "0.0.0.0:8070", "behind-tls-proxy", "console.example.com"
	values["CONSOLE_ACCESS"], values["CONSOLE_USER_HASH"] = "users", "$2a$10$7EqJtq98hPqEX7fNZaFWoOhi5TzRyX0nqA5Yx6rGZkFZ8cWxo0vzy"
	return values
}

// given is the environment that compose gives a service: what compose.yaml says, and the
// files of variables that `arauto example` prints.
func given(t *testing.T, values map[string]string, s service) map[string]string {
	t.Helper()
	all := interpolate(values, s.Environment)
	for _, file := range s.EnvFile {
		for _, name := range providerVariables(t, strings.TrimSuffix(file, ".env")) {
			all[name] = values[name]
		}
	}
	return all
}

// interpolate replaces a service's ${NAME...} as compose does.
func interpolate(values map[string]string, given map[string]string) map[string]string {
	reference := regexp.MustCompile(`\$\{([A-Z_]+)(:[-?][^}]*)?\}`)
	all := maps.Clone(given)
	for name, value := range all {
		all[name] = reference.ReplaceAllStringFunc(value, func(found string) string {
			return values[reference.FindStringSubmatch(found)[1]]
		})
	}
	return all
}

func TestExampleLoadsForEveryRoleInTheEnvironmentOfItsService(t *testing.T) {
	t.Parallel()
	services := composeFile(t).Services
	for _, role := range append(slices.Clone(sections), "topology") {
		env := environmentOf(given(t, filled(t), services[role]))
		if _, err := config.Load(example(t), env.get, providers.All, role); err != nil {
			t.Errorf("%s does not start with what compose.yaml gives it:\n%v", role, err)
		}
		for name := range env.values {
			if !env.asked[name] && name != "ARAUTO_CONFIG" {
				t.Errorf("%s is given %s, which it does not read", role, name)
			}
		}
	}
}

// optional are variables that may be missing, because the example has a
// default for them. Those that end in _NEXT are too.
var optional = []string{"ADMIN_LISTEN", "CONSOLE_ACCESS", "CONSOLE_HOST", "CONSOLE_INDEX", "CONSOLE_LISTEN", "CONSOLE_OPERATOR_PASSWORD", "CONSOLE_PLAINTEXT", "CONSOLE_USER_HASH", "EXPECT_HTTP_TOKEN", "GATEWAY_LISTEN", "GATEWAY_PLAINTEXT", "NATS_MONITOR_URL", "NATS_PLAINTEXT", "NATS_URL"}

func isOptional(name string) bool {
	return slices.Contains(optional, name) || strings.HasSuffix(name, "_NEXT")
}

// excuses are the optional variables without which the others are not safe, with what is
// refused without them.
var excuses = map[string]string{
	"NATS_PLAINTEXT": "nats.url: sends nats.password", "GATEWAY_PLAINTEXT": "gateway.listen: serves plain HTTP",
	"CONSOLE_PLAINTEXT": "console.listen: serves plain HTTP", "CONSOLE_ACCESS": "console.access.mode: off lets each client",
	"CONSOLE_USER_HASH": "password_hash: is no hash by bcrypt",
}

func TestExampleNamesEveryVariableThatIsMissing(t *testing.T) {
	t.Parallel()
	all := names(braced, stripped(exampleText(t)))
	_, err := config.Load(example(t), environmentOf(nil).get, providers.All, sections...)
	var problems config.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("without any variable: %v", err)
	}
	for _, name := range all {
		if named := strings.Contains(err.Error(), "variable "+name+" "); named == isOptional(name) {
			t.Errorf("%s is missing; the problems name it: %v", name, named)
		}
	}
	for _, missing := range all {
		values := filled(t)
		delete(values, missing)
		_, err := config.Load(example(t), environmentOf(values).get, providers.All, sections...)
		if refusal := excuses[missing]; refusal != "" {
			if err == nil || !strings.Contains(err.Error(), refusal) {
				t.Errorf("without %s: %v", missing, err)
			}
		} else if isOptional(missing) {
			if err != nil {
				t.Errorf("without the optional %s: %v", missing, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), "variable "+missing+" is not set") {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

func TestExampleShowsEveryProviderWithTwoAccounts(t *testing.T) {
	t.Parallel()
	c, err := config.Load(example(t), environmentOf(filled(t)).get, providers.All, sections...)
	testbench.Must(t, err)
	gateway, err := c.Gateway()
	testbench.Must(t, err)
	lookup, err := c.Lookup()
	testbench.Must(t, err)
	for _, p := range providers.All {
		if got := slices.Sorted(maps.Keys(gateway.Credentials(p.Name))); !slices.Equal(got, []string{"acme", "default"}) {
			t.Errorf("%s takes webhooks in for the accounts %v", p.Name, got)
		}
		if got := slices.Sorted(maps.Keys(lookup.Accounts(p.Name))); !slices.Equal(got, []string{"acme", "default"}) {
			t.Errorf("%s can be asked for the accounts %v", p.Name, got)
		}
	}
}

func TestExampleSizesTheStreamsToTheBrokersStore(t *testing.T) {
	t.Parallel()
	c, err := config.Load(example(t), environmentOf(filled(t)).get, providers.All)
	testbench.Must(t, err)
	options, err := server.ProcessConfigFile(natsConf)
	testbench.Must(t, err)
	if got := c.Topology().Store; got != options.JetStreamMaxStore {
		t.Errorf("topology.store is %d bytes, max_file_store of nats.conf %d", got, options.JetStreamMaxStore)
	}
	gateway, err := c.Gateway()
	if err == nil && int64(options.MaxPayload) < 2*int64(gateway.BodyLimit) {
		t.Errorf("max_payload is %d bytes, too near to the gateway's body_limit of %d", options.MaxPayload, gateway.BodyLimit)
	}
}
