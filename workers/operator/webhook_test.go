package operator

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// tryWith runs `webhook try` without a broker, on a body in a file.
func tryWith(t *testing.T, want int, body string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	configuration, webhook := filepath.Join(dir, "arauto.yaml"), filepath.Join(dir, "body")
	for path, text := range map[string]string{configuration: `profile: local
hash_key: ` + testbench.HashKey + `
nats: {url: "nats://127.0.0.1:1"}
providers:
  picpay: {accounts: {default: {webhook_secrets: [hook], settings: {base_url: "https://picpay.example", token: "${CANARY}"}}}}
  yapay: {accounts: {acme: {path_keys: [key], settings: {token_account: "${CANARY}"}}}}
  beeteller: {accounts: {default: {path_keys: [key]}}}
`, webhook: body} {
		testbench.Must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	code, out, problems := arauto(t, append([]string{"webhook", "try", webhook, "--config", configuration}, args...)...)
	if code != want {
		t.Fatalf("%q: code %d, want %d, output %q, problems %q", args, code, want, out, problems)
	}
	return out
}

func TestTryingAWebhookSaysWhatBecomesOfIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		args string
		want []string
	}{
		"looked up": {
			`{"referenceId": "102030"}`, "--provider picpay",
			[]string{"picpay, account default", "payment 102030", "order 102030", "kind payment", "asked GET https://picpay.example/payments/102030/status", "then the provider is asked"},
		},
		"secret in the query": {
			"token_transaction=abc", "--provider yapay --account acme",
			[]string{"payment abc", "order -", "asked GET https://api.intermediador.yapay.com.br/api/v3/transactions/get_by_token_brief?token_account=SECRET&token_transaction=abc"},
		},
		"trusted": {
			`{"order": "p-1", "reference": "o-1", "status": "PAID"}`, "--provider beeteller",
			[]string{"kind payout", "payment p-1", "order o-1", "word PAID", "status paid", "then its payload is trusted, with confirmed: false"},
		},
		"trusted, with an unknown word": {
			`{"order": "p-1", "status": "SETTLING"}`, "--provider beeteller", []string{"word SETTLING", `becomes a dead letter: unknown provider word "SETTLING"`},
		},
		"unknown type": {
			`{"order": "p-1", "type": "PIX"}`, "--provider beeteller", []string{"type PIX", "dead letter of class data"},
		},
		"personal id": {
			`{"referenceId": "buyer@example.com"}`, "--provider picpay", []string{"payment ~", "/payments/~"},
		},
		"named by the query": {
			`{"type": "payment"}`, "--provider mercadopago --query data.id=1234567890&type=payment",
			[]string{"payment 1234567890", "/v1/payments/1234567890", "account default is not in this configuration"},
		},
		"account that is not configured": {
			`{"payment": "p-1"}`, "--provider sandbox", []string{"asked GET SECRET/payments/p-1", "account default is not in this configuration"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := tryWith(t, ExitDone, c.body, strings.Fields(c.args)...)
			plain := strings.Join(strings.Fields(out), " ")
			for _, want := range c.want {
				if !strings.Contains(plain, want) {
					t.Errorf("it lacks %q:\n%s", want, out)
				}
			}
			if strings.Contains(out, "buyer@example.com") {
				t.Errorf("it shows personal data:\n%s", out)
			}
		})
	}
}

func TestTryingAWebhookSaysWhichRuleAndFieldRefuseIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		provider, body, rule, field string
	}{
		"no JSON":        {"picpay", "canary-value", "body", ""},
		"missing id":     {"picpay", `{"other": "canary-value"}`, "missing", "referenceId"},
		"wrong type":     {"picpay", `{"referenceId": {"a": "canary-value"}}`, "type", "referenceId"},
		"key twice":      {"sandbox", `{"payment": "canary-value", "payment": "b"}`, "key", "payment"},
		"wrong form":     {"yapay", "token_transaction=canary%20value", "form", "token_transaction"},
		"value twice":    {"yapay", "token_transaction=canary-value&token_transaction=b", "key", "token_transaction"},
		"id of Checkout": {"picpay-checkout", `{"type": "PAYMENT", "data": {"merchantChargeId": ["canary-value"]}}`, "type", "merchantChargeId"},
		"path step":      {"sandbox", `{"payment": ".."}`, "id", "payment"},
		"personal type":  {"beeteller", `{"type": "529.982.247-25"}`, "word", "type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := tryWith(t, ExitPartly, c.body, "--provider", c.provider, "--output", "json")
			var got tried
			testbench.Must(t, json.Unmarshal([]byte(out), &got))
			if got.Refused == nil || got.Refused.Code != 400103 || string(got.Refused.Rule) != c.rule || got.Refused.Field != c.field {
				t.Errorf("it says %+v, want rule %s and field %q", got.Refused, c.rule, c.field)
			}
			if text := tryWith(t, ExitPartly, c.body, "--provider", c.provider); !strings.Contains(text, "400103") || strings.Contains(text+out, "canary") || strings.Contains(text+out, "529.982") {
				t.Errorf("as text it says:\n%s", text)
			}
		})
	}
}

func TestTryingAWebhookRefusesWrongCommandLines(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{"webhook", "needs a command: try"},
		{"webhook try body", "--provider is missing"},
		{"webhook try --provider nobody body", "--provider is not one of"},
		{"webhook try --provider picpay", "takes one file"},
		{"webhook try --provider picpay --header secret-pasted-here body", "name: value"},
	} {
		if code, out, problems := arauto(t, strings.Fields(c[0])...); code != ExitRefused || out != "" || !strings.Contains(problems, c[1]) || strings.Contains(problems, "secret-pasted") {
			t.Errorf("%s: code %d, output %q, problems %q", c[0], code, out, problems)
		}
	}
}
