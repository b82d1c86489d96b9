package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v4"

	"arauto/deploy/runtime/testbench"
)

// canary is a secret that must show up nowhere but where it is revealed.
const canary = "canary-7f3a9b1c-d04e55-canary-82"

// nested hides a Secret in an unexported field, where fmt calls no method.
type nested struct{ inner Secret }

func TestSecretNeverPrintsItself(t *testing.T) {
	t.Parallel()
	s := NewSecret(canary)
	if s.Reveal() != canary || s.Empty() || !(Secret{}).Empty() {
		t.Fatal("a secret does not hold its value")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		for _, value := range []any{s, &s, nested{s}, &nested{s}, []Secret{s}, map[string]Secret{"k": s}, credentials{owner{"p", "a"}: {s}}} {
			mustNotShow(t, "fmt "+verb, fmt.Sprintf(verb, value))
		}
	}
	asJSON, err := json.Marshal(map[string]any{"s": s, "p": &s})
	if err != nil || string(asJSON) != `{"p":"***","s":"***"}` {
		t.Errorf("JSON is %s, %v", asJSON, err)
	}
	asYAML, err := yaml.Marshal(map[string]any{"s": s})
	if err != nil || string(asYAML) != "s: '***'\n" {
		t.Errorf("YAML is %s, %v", asYAML, err)
	}
	log, logs := testbench.Logs(zapcore.DebugLevel)
	log.Info("secret", zap.Any("s", s), zap.Reflect("r", nested{s}), zap.Stringer("t", s))
	encoded, err := json.Marshal(logs.All()[0].ContextMap())
	testbench.Must(t, err)
	mustNotShow(t, "zap", string(encoded))
}

func TestRolesAndRedactedFileShowNoSecret(t *testing.T) {
	t.Parallel()
	env := environment("HASH", canary, "NATS_PASSWORD", canary, "ONE", canary, "KEY", "key-"+canary, "TOKEN", canary)
	c, err := Load(write(t, `hash_key: ${HASH}
nats: {user: me, password: "${NATS_PASSWORD}"}
providers:
  alpha:
    accounts:
      default:
        webhook_secrets: ["${ONE}"]
        settings: {base_url: "https://a.example", token: "${TOKEN}", mode: "${MODE:-slow}"}
  bravo: {accounts: {default: {path_keys: ["${KEY}"]}}}
`), env, known)
	testbench.Must(t, err)
	g, err := c.Gateway()
	testbench.Must(t, err)
	l, err := c.Lookup()
	testbench.Must(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		mustNotShow(t, verb, fmt.Sprintf(verb+verb+verb+verb, g, l, c.NATS(), c.file))
	}
	text := c.Redacted()
	mustNotShow(t, "redacted", text)
	for _, want := range []string{"token: '***'", "base_url: https://a.example", "mode: ${MODE}", "- '***'", "password: '***'"} {
		if !strings.Contains(text, want) {
			t.Errorf("the redacted file lacks %q:\n%s", want, text)
		}
	}
}

func TestLocalLiteralSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	c := load(t, "profile: local\nhash_key: "+canary+"\nproviders: {alpha: {accounts: {a: {webhook_secrets: ["+canary+"], settings: {token: "+canary+"}}}}}\n")
	mustNotShow(t, "redacted", c.Redacted())
	mustNotShow(t, "plus v", fmt.Sprintf("%+v", c.NATS()))
}

// TestProblemsShowNoSecret plants the canary in every place where a value can
// be wrong.
func TestProblemsShowNoSecret(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"hash_key: " + canary + "\n",
		"hash_key: \"${" + canary + "\"\n",
		"hash_key: ${HASH:-" + canary + "}\n",
		"hash_key: {file: " + canary + "}\n",
		"hash_key: *" + canary + "\n",
		"hash_key: [" + canary + "]\n",
		"hash_key: !" + canary + " x\n",
		"hash_key: '" + canary + "\n",
		"hash_key: ${HASH}\nnats: {url: \"nats://me:" + canary + "@host:4222\"}\n",
		"hash_key: ${HASH}\nnats: {url: \"${CANARY}\"}\n",
		"hash_key: ${HASH}\nnats: {password: \"${CANARY}\"}\n",
		"hash_key: ${HASH}\nnats: {credentials_file: \"${CANARY}\"}\n",
		"hash_key: ${HASH}\ngateway: {read_timeout: \"${CANARY}\"}\n",
		"hash_key: ${HASH}\nproviders: {alpha: {accounts: {a: {settings: {base_url: \"https://me:" + canary + "@x\"}}}}}\n",
		"hash_key: ${HASH}\nproviders: {alpha: {accounts: {a: {settings: {base_url: \"${CANARY}\", token: \"${CANARY}\\n\"}}}}}\n",
		"hash_key: ${HASH}\nproviders: {alpha: {accounts: {a: {webhook_secrets: [" + canary + "]}}}}\n",
		"hash_key: ${HASH}\nproviders: {alpha: {accounts: {a: {webhook_secrets: " + canary + "}}}}\n",
		"hash_key: ${HASH:-" + canary + "\n",
		"hash_key: ${HASH}\ngateway: {listen: \"${CANARY}\"}\n",
		"hash_key: ${HASH}\nlookup: {providers: [\"${CANARY}\"]}\n",
		"hash_key: ${HASH}\nproviders: {alpha: {retry: \"${CANARY}\"}}\n",
		"hash_key: ${HASH}\nproviders: {bravo: {accounts: {a: {path_keys: [\"${CANARY}\"]}, b: {path_keys: [\"${CANARY}\"]}}}}\n",
	} {
		_, err := Load(write(t, text), environment("CANARY", canary), known, RoleGateway, RoleLookup)
		if err == nil {
			t.Errorf("this was accepted:\n%s", text)
			continue
		}
		mustNotShow(t, text, err.Error())
	}
}

func mustNotShow(t *testing.T, where, text string) {
	t.Helper()
	lower := strings.ToLower(text)
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), strings.Trim(fmt.Sprint([]byte(canary)), "[]")} {
		if strings.Contains(lower, form) {
			t.Errorf("%s shows the secret: %s", where, text)
		}
	}
}
