package reconcile_test

import (
	"fmt"
	"strings"

	"arauto/deploy/tools/simulator/api"
	"arauto/schemas/providers"
)

// turned is how many times as fast the retries of this test wait: 72 hours
// are 7.2 seconds.
const turned = 36000

// hashKey is the deployment's.
const hashKey = "a-key-for-this-test-only-32-bytes"

// configuration is one file for every role, with both accounts of every
// provider that the simulator speaks. Only the local profile may turn the clock.
func configuration(sim string, replicas int) string {
	return configurationOf(api.Configuration("http://"+sim), replicas)
}

// configurationOf is configuration with the section of the providers given.
func configurationOf(section string, replicas int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `profile: local
time_scale: %d
hash_key: %s
topology: {replicas: %d}
nats: {url: "${NATS_URL}", monitor_url: "${NATS_MONITOR_URL}", user: "${NATS_USER}", password: "${NATS_PASSWORD}"}
gateway: {admin: "127.0.0.1:0"}
lookup: {admin: "127.0.0.1:0", ask_timeout: 2s}
normalize: {admin: "127.0.0.1:0"}
sweep: {admin: "127.0.0.1:0", every: 300ms}
expect: {admin: "127.0.0.1:0"}
%s`, turned, hashKey, replicas, section)
	text := b.String()
	for _, p := range providers.All { // Those that wait as they deliver themselves; the others have the default.
		if len(p.RetryOffsets) > 0 {
			text = strings.Replace(text, "\n  "+p.Name+":\n", "\n  "+p.Name+":\n    retry: "+p.Name+"\n", 1)
		}
	}
	return text
}
