package reconcile_test

import (
	"fmt"
	"strings"
)

// turned is how many times as fast the retries of this test wait: 72 hours
// are 7.2 seconds.
const turned = 36000

// hashKey is the deployment's.
const hashKey = "a-key-for-this-test-only-32-bytes"

// configuration is one file for every role, with both accounts of every
// provider that the simulator speaks. Only the local profile may turn the clock.
func configuration(sim string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `profile: local
time_scale: %d
hash_key: %s
nats: {url: "${NATS_URL}", monitor_url: "${NATS_MONITOR_URL}", user: "${NATS_USER}", password: "${NATS_PASSWORD}"}
gateway: {admin: "127.0.0.1:0"}
lookup: {admin: "127.0.0.1:0", ask_timeout: 2s}
normalize: {admin: "127.0.0.1:0"}
sweep: {admin: "127.0.0.1:0", every: 300ms}
providers:
`, turned, hashKey)
	for _, one := range []struct{ provider, secret, settings string }{
		{"picpay", "webhook_secrets: [%[1]s4ef4edbd-5cda-42da-860b-0e8d7b90c784]", `base_url: "http://%[2]s/picpay", token: %[1]spicpay-lookup-token`},
		{
			"picpay-checkout", "webhook_secrets: [%[1]sa45c2dee-6435-1234-5678-b2a5f0ae7a8a]",
			`base_url: "http://%[2]s/picpay-checkout", token_url: "http://%[2]s/picpay-checkout/oauth2/token", client_id: %[1]scheckout-client, client_secret: %[1]scheckout-secret`,
		},
		{"beeteller", "path_keys: [%[1]sbeeteller-local-key]", ""},
		{"yapay", "path_keys: [%[1]syapay-local-key]", `base_url: "http://%[2]s/yapay", token_account: %[1]syapay-lookup-token`},
		{"sandbox", "webhook_secrets: [%[1]ssandbox-local-token]", `base_url: "http://%[2]s/sandbox", token: %[1]ssandbox-lookup-token`},
	} {
		fmt.Fprintf(&b, "  %s:\n", one.provider)
		if one.provider == "yapay" { // The one that waits as it delivers itself; the others have the default.
			b.WriteString("    retry: yapay\n")
		}
		b.WriteString("    accounts:\n")
		for account, prefix := range map[string]string{"default": "", "acme": "acme-"} {
			fill := strings.NewReplacer("%[1]s", prefix, "%[2]s", sim)
			fmt.Fprintf(&b, "      %s:\n        %s\n        settings: {%s}\n", account, fill.Replace(one.secret), fill.Replace(one.settings))
		}
	}
	return b.String()
}
