package chart_test

import (
	"regexp"
	"strings"
	"testing"
)

// refused are changes of values that the schema or the templates must not take, and what
// the refusal names.
var refused = map[string]struct{ change, says string }{
	"a webhook secret":          {`config: {providers: {sandbox: {accounts: {default: {webhook_secrets: [a-secret-as-it-stands]}}}}}`, "webhook_secrets"},
	"a path key":                {`config: {providers: {sandbox: {accounts: {default: {path_keys: [a-key-as-it-stands]}}}}}`, "path_keys"},
	"a token of a look-up":      {`config: {providers: {sandbox: {accounts: {default: {settings: {token: a-token-as-it-stands}}}}}}`, "token"},
	"a default for a secret":    {`config: {providers: {sandbox: {accounts: {default: {settings: {token: "${TOKEN:-a-token}"}}}}}}`, "token"},
	"the hash key":              {`config: {hash_key: a-hash-key-as-it-stands}`, "hash_key"},
	"a header of spans":         {`config: {tracing: {headers: {authorization: a-token-as-it-stands}}}`, "tracing/headers/authorization"},
	"a collector's password":    {`config: {tracing: {endpoint: "https://me:a-password@otel:4318/v1/traces"}}`, "tracing/endpoint"},
	"a collector's token":       {`config: {tracing: {endpoint: "https://otel:4318/v1/traces?token=a-token"}}`, "tracing/endpoint"},
	"a collector out of reach":  {`config: {tracing: {endpoint: "https://otel/v1/traces"}}`, "port 443, so networkPolicy.tracing.ports"},
	"a password in an address":  {`config: {nats: {url: "tls://me:a-password@nats:4222"}}`, "nats/url"},
	"a password of monitoring":  {`config: {nats: {monitor_url: "http://me:a-password@nats:8222"}}`, "monitor_url"},
	"a password of a provider":  {`config: {providers: {sandbox: {accounts: {default: {settings: {base_url: "https://me:a-password@sandbox"}}}}}}`, "base_url"},
	"a password of Prometheus":  {`keda: {prometheus: "http://me:a-password@prometheus:9090"}`, "prometheus"},
	"the broker's password":     {`config: {nats: {password: a-password}}`, "password"},
	"an address to listen on":   {`config: {gateway: {listen: "0.0.0.0:80"}}`, "listen"},
	"an admin address":          {`config: {sweep: {admin: "0.0.0.0:80"}}`, "admin"},
	"another profile":           {`config: {profile: local}`, "profile"},
	"a broker without address":  {`config: {nats: {url: ""}}`, "url"},
	"a misspelt value":          {`roles: {gateway: {replica: 3}}`, "replica"},
	"a role that there is not":  {`roles: {gatway: {replicas: 3}}`, "gatway"},
	"no replicas":               {`roles: {lookup: {replicas: 0}}`, "replicas"},
	"two consoles":              {`roles: {console: {replicas: 2}}`, "replicas"},
	"a hash of a password":      {`config: {console: {access: {users: {maria: {password_hash: a-hash-as-it-stands}}}}}`, "password_hash"},
	"the operator's password":   {`config: {console: {operator_password: a-password}}`, "operator_password"},
	"an address of the console": {`config: {console: {listen: "0.0.0.0:80"}}`, "listen"},
	"a console for everyone":    {`{roles: {console: {enabled: true}}, config: {console: {hosts: [console.example.com]}}}`, "access.mode"},
	"a console of no host":      {`{roles: {console: {enabled: true}}, config: {console: {access: {mode: users}}}}`, "hosts"},
	"a console over plain HTTP": {`{roles: {console: {enabled: true}}, config: {console: {hosts: [console.example.com], access: {mode: users}}}}`, "consoleFrom"},
	"plain HTTP for everyone":   {`networkPolicy: {webhooksFrom: []}`, "webhooksFrom"},
	"KEDA without monitoring":   {`keda: {enabled: true}`, "monitoringEndpoint"},
	"KEDA down to no processes": {`keda: {lookup: {min: 0}}`, "min"},
}

// shown finds a secret of refused in what Helm says.
var shown = regexp.MustCompile(`as-it-stands|a-password|a-token`)

func TestUnsafeValuesAreRefused(t *testing.T) {
	t.Parallel()
	for what, r := range refused {
		given := values(t, "minimal")
		merge(given, parse(t, r.change))
		if _, err := render(given); err == nil || !strings.Contains(err.Error(), r.says) {
			t.Errorf("%s is answered with %v", what, err)
		} else if shown.MatchString(err.Error()) {
			t.Errorf("%s is shown: %v", what, err)
		}
	}
	if _, err := render(values(t, "minimal")); err != nil {
		t.Errorf("without a change: %v", err)
	}
}

// merge sets what change says in given.
func merge(given, change map[string]any) {
	for key, value := range change {
		below, inner := value.(map[string]any)
		if of, ok := given[key].(map[string]any); ok && inner {
			merge(of, below)
			continue
		}
		given[key] = value
	}
}

func schema(t *testing.T) manifest {
	t.Helper()
	return manifest{tree: parse(t, read(t, "chart/values.schema.json"))}
}

// TestSchemaKnowsEverySecretSetting holds the schema's list to the code of the providers.
func TestSchemaKnowsEverySecretSetting(t *testing.T) {
	t.Parallel()
	known, _ := schema(t).at("properties", "config", "properties", "providers", "additionalProperties", "properties", "accounts",
		"additionalProperties", "properties", "settings", "properties").(map[string]any)
	secret := regexp.MustCompile(`\| (?:\x60[a-z-]+\x60)? \| \x60([a-z_]+)\x60 \(secret\)`)
	found := secret.FindAllStringSubmatch(read(t, "CONFIGURING.md"), -1)
	names := map[string]bool{}
	for _, m := range found {
		if names[m[1]] = true; known[m[1]] == nil {
			t.Errorf("the setting %s is a secret, and values.schema.json takes it as it stands", m[1])
		}
	}
	if len(names) != len(known) || len(names) < 5 {
		t.Errorf("%d settings are secrets, values.schema.json knows %d", len(names), len(known))
	}
}

// secretKey finds the keys of the configuration whose values are secrets, in its Go code.
var secretKey = regexp.MustCompile(`(?m)^\s+\w+\s+(?:\[\]|map\[string\])?reference\s+\x60yaml:"(\w+)`)

// TestSchemaKnowsEverySecretKey holds the schema to the code of the configuration.
func TestSchemaKnowsEverySecretKey(t *testing.T) {
	t.Parallel()
	var code strings.Builder
	for _, name := range []string{"consoleaccess", "file", "tracing"} {
		code.WriteString(read(t, "runtime/config/"+name+".go"))
	}
	known := map[string]bool{}
	secretsOf(schema(t).at("properties", "config"), "", known)
	found := secretKey.FindAllStringSubmatch(code.String(), -1)
	for _, m := range found {
		if !known[m[1]] {
			t.Errorf("the key %s is a secret, and values.schema.json takes it as it stands", m[1])
		}
	}
	if len(found) < 9 {
		t.Errorf("only %d keys of secrets were found", len(found))
	}
}

// secretsOf adds the keys below a schema that may hold no secret as it stands: each value of theirs
// is refused, or held to the definition of secrets, or is a mapping with such a key.
func secretsOf(schema any, key string, known map[string]bool) {
	of, ok := schema.(map[string]any)
	if !ok {
		return
	}
	if of["not"] != nil || of["$ref"] == "#/definitions/secret" {
		known[key] = true
	}
	secretsOf(of["items"], key, known)
	secretsOf(of["additionalProperties"], key, known)
	properties, _ := of["properties"].(map[string]any)
	for name, below := range properties {
		secretsOf(below, name, known)
		known[key] = known[key] || known[name]
	}
}
