package operator

import (
	"strings"
	"testing"
)

func TestExampleShowsOneProviderOrAll(t *testing.T) {
	t.Parallel()
	for args, want := range map[string][]string{
		"example":                                    {"  sandbox:\n", "  yapay:\n", `path_keys: ["${YAPAY_ACME_PATH_KEY}", "${YAPAY_ACME_PATH_KEY_NEXT:-}"]`},
		"example --provider picpay-checkout":         {"  # PicPay Checkout", "client_secret: ${PICPAY_CHECKOUT_ACME_CLIENT_SECRET}\n"},
		"example --provider beeteller --env gateway": {"BEETELLER_PATH_KEY=\nBEETELLER_PATH_KEY_NEXT=\nBEETELLER_ACME_PATH_KEY=\nBEETELLER_ACME_PATH_KEY_NEXT=\n"},
		"example --env lookup":                       {"SANDBOX_BASE_URL=\nSANDBOX_TOKEN=\n"},
	} {
		code, out, problems := arauto(t, strings.Fields(args)...)
		for _, text := range want {
			if code != ExitDone || !strings.Contains(out, text) {
				t.Errorf("%s: code %d, %s, it lacks %q:\n%s", args, code, problems, text, out)
			}
		}
		if strings.Contains(args, "--provider") && strings.Contains(out, "sandbox") {
			t.Errorf("%s shows the sandbox:\n%s", args, out)
		}
	}
	for _, args := range []string{"example --provider nobody", "example --env sweep", "example picpay"} {
		if code, out, _ := arauto(t, strings.Fields(args)...); code != ExitRefused || out != "" {
			t.Errorf("%s: code %d, %s", args, code, out)
		}
	}
}
