package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// TestEachMistakeIsNamedWithItsLineAndAdvice compares whole messages, because
// the advice is the feature. FILE stands for the path.
func TestEachMistakeIsNamedWithItsLineAndAdvice(t *testing.T) {
	t.Parallel()
	const head = "hash_key: ${HASH}\n"
	account := func(text string) string {
		return head + "providers:\n  alpha:\n    accounts:\n      default:\n" + text
	}
	for name, c := range map[string]struct {
		text string
		role string
		want string
	}{
		"unknown key": {
			text: head + "gateway:\n  publish_timeuot: 1s\n",
			want: `FILE:3: gateway: there is no key "publish_timeuot"; write publish_timeout instead (known: listen, plaintext, admin, tls, publish_timeout, body_limit, header_limit, read_timeout, write_timeout, idle_timeout, max_connections, body_memory, memory_limit, limit, authentication_failures, proxies, durability)`,
		},
		"claim that is none": {
			text: head + "gateway:\n  durability: fsync\n",
			want: `FILE:3: gateway.durability: "fsync" is not a claim; write process-kill, power-loss, node-loss, or power-loss, node-loss for both`,
		},
		"claim that nobody can see": {
			text: head + "gateway:\n  durability: power-loss\n", role: RoleGateway,
			want: `FILE:3: gateway.durability: claims power-loss, but without nats.monitor_url nobody can see whether the broker syncs before it confirms; write nats.monitor_url, or claim no power-loss here`,
		},
		"monitoring address that is none": {
			text: head + "nats:\n  monitor_url: nats:8222\n",
			want: `FILE:3: nats.monitor_url: is not a monitoring address; write one such as http://127.0.0.1:8222, those of a cluster with commas between them`,
		},
		"monitoring address with a password": {
			text: head + "nats:\n  monitor_url: http://me:canary@nats:8222\n",
			want: `FILE:3: nats.monitor_url: carries a user or password; a broker's monitoring address has none, so keep it on an internal network`,
		},
		"collector without a path": {
			text: head + "tracing:\n  endpoint: http://canary:4318\n",
			want: `FILE:3: tracing.endpoint: is not where a collector takes OTLP over HTTP; write its URL with the path, such as http://127.0.0.1:4318/v1/traces`,
		},
		"collector with a password": {
			text: head + "tracing:\n  endpoint: https://me:canary@otel:4318/v1/traces\n",
			want: `FILE:3: tracing.endpoint: carries a user, a query or a fragment; write a credential as tracing.headers`,
		},
		"collector that gets its secret in plain text": {
			text: head + "tracing:\n  endpoint: http://otel:4318/v1/traces\n  headers: {authorization: \"${ONE}\"}\n",
			want: `FILE:3: tracing.endpoint: sends tracing.headers to another host in plain text; write https://`,
		},
		"header of the collector that is none": {
			text: head + "tracing:\n  headers:\n    a b: ${ONE}\n",
			want: `FILE:4: tracing.headers.a b: is not a header that can be set; write a name such as authorization`,
		},
		"header of the collector that stands in the file": {
			text: head + "tracing:\n  headers:\n    authorization: Bearer canary\n",
			want: `FILE:4: tracing.headers.authorization: a secret must not stand in this file; write ${NAME} or {file: path} instead`,
		},
		"header of spans that is not set": {
			text: head + "tracing:\n  endpoint: https://otel:4318/v1/traces\n  headers:\n    authorization: ${ABSENT}\n", role: SectionTracing,
			want: `FILE:5: tracing.headers.authorization: the environment variable ABSENT is not set; set it or write {file: path} instead`,
		},
		"unknown key that is like none": {
			text: head + "topology:\n  zzz: 1s\n",
			want: `FILE:3: topology: there is no key "zzz"; write one of: replicas, store`,
		},
		"key twice": {
			text: head + "gateway: {}\n" + head,
			want: `FILE:3: the key "hash_key" stands here again, after line 1; keep one of them`,
		},
		"key that is no word": {
			text: head + "[a]: 1\n",
			want: `FILE:2: a key must be a plain word, not a list; write key: value lines`,
		},
		"payments that are removed before they are left alone": {
			text: head + "sweep:\n  remove_after: 9599h\n",
			want: `FILE:3: sweep.remove_after: 9599h0m0s is out of range; write a value from 9600h0m0s to 87600h0m0s, or 0 for never: a payment that is looked up or not compacted yet must stay`,
		},
		"notifications that outlive their observations": {
			text: head + "sweep:\n  keep_notifications: 720h\n",
			want: `FILE:3: sweep.keep_notifications: 720h0m0s is out of range; write a value from 1m0s to 696h0m0s: observations are kept for 30 days, and without its own a finished notification looks as if nobody had asked`,
		},
		"rate limit that stops everybody": {
			text: head + "lookup:\n  rate_limit: {rate: 0}\n",
			want: `FILE:3: lookup.rate_limit.rate: 0 is out of range; write a value from 1 to 10000`,
		},
		"rate limit that stops a provider": {
			text: head + "providers:\n  alpha:\n    rate_limit: {burst: 0}\n",
			want: `FILE:4: providers.alpha.rate_limit.burst: 0 is out of range; write a value from 1 to 10000`,
		},
		"rate limit that limits nothing": {
			text: head + "providers:\n  alpha:\n    accounts:\n      default: {webhook_secrets: ['${ONE}'], rate_limit: {concurrency: 5000}}\n",
			want: `FILE:5: providers.alpha.accounts.default.rate_limit.concurrency: 5000 is out of range; write a value from 1 to 4096`,
		},
		"limit that no notification fits into": {
			text: head + "gateway:\n  limit: {rate: 0, burst: 0, bytes: 1KiB}\n",
			want: `FILE:3: gateway.limit.bytes: 1KiB is out of range; write a value from 64KiB to 64GiB`,
		},
		"limit without a rate": {
			text: head + "gateway:\n  limit: {burst: 5}\n",
			want: `FILE:3: gateway.limit.burst: limits nothing without a rate; write rate beside it, in webhooks per second`,
		},
		"limit below nothing": {
			text: head + "gateway:\n  limit: {rate: -1}\n",
			want: `FILE:3: gateway.limit.rate: -1 is out of range; write a value from 1 to 10000`,
		},
		"limit that does not lift another": {
			text: head + "providers:\n  alpha:\n    limit: {burst: 0}\n",
			want: `FILE:4: providers.alpha.limit.burst: 0 is out of range; write a value from 1 to 10000`,
		},
		"limit of an account that limits nothing": {
			text: head + "providers:\n  alpha:\n    accounts:\n      default: {webhook_secrets: ['${ONE}'], limit: {rate: 20000}}\n",
			want: `FILE:5: providers.alpha.accounts.default.limit.rate: 20000 is out of range; write a value from 1 to 10000`,
		},
		"list for a value": {
			text: head + "gateway:\n  listen: [a]\n",
			want: `FILE:3: gateway.listen: must be one value, not a list; write it on the line of its key`,
		},
		"value for a mapping": {
			text: head + "gateway: 8080\n",
			want: `FILE:2: gateway: must be a mapping, not a single value; write key: value lines`,
		},
		"value for a list": {
			text: head + "lookup:\n  providers: alpha\n",
			want: `FILE:3: lookup.providers: must be a list, not a single value; write [a, b] or one - item per line`,
		},
		"no value": {
			text: head + "gateway:\n  listen:\n",
			want: `FILE:3: gateway.listen: has no value; write one or remove the key`,
		},
		"alias": {
			text: "hash_key: &k ${HASH}\nnats: {name: *k}\n",
			want: `FILE:2: nats.name: an alias is not allowed; write the value out`,
		},
		"tag": {
			text: head + "nats: {name: !!str x}\n",
			want: `FILE:2: nats.name: a tag is not allowed; write the value alone`,
		},
		"second document": {
			text: head + "---\n" + head,
			want: `FILE:2: a second document begins; write everything in one document, without ---`,
		},
		"not YAML": {
			text: head + "gateway: {\n",
			want: `FILE:3: is not valid YAML: did not find expected node content; write valid YAML`,
		},
		"reference without quotes in a list": {
			text: head + "lookup: {providers: [${A}, ${B:-}]}\n",
			want: `FILE:2: is not valid YAML: did not find expected ',' or ']'; write "${NAME}" with quotes inside [ ] and { }`,
		},
		"alias of nothing": {
			text: "hash_key: *canary\n",
			want: `FILE:1: is not valid YAML: an alias names no anchor; quote a value that begins with *`,
		},
		"malformed duration": {
			text: head + "gateway:\n  publish_timeout: 800\n",
			want: `FILE:3: gateway.publish_timeout: "800" is not a duration; write a number with its unit, such as 800ms, 5s or 12h`,
		},
		"malformed duration from the environment": {
			text: head + "gateway:\n  publish_timeout: ${ONE}\n",
			want: `FILE:3: gateway.publish_timeout: the value of ONE is not a duration; write a number with its unit, such as 800ms, 5s or 12h`,
		},
		"malformed size": {
			text: head + "gateway: {body_limit: 256KB}\n",
			want: `FILE:2: gateway.body_limit: "256KB" is not a size; write a number with its unit, such as 256KiB, 1MiB or 8GiB`,
		},
		"size with a sign": {
			text: head + "gateway: {body_limit: +256KiB}\n",
			want: `FILE:2: gateway.body_limit: "+256KiB" is not a size; write a number with its unit, such as 256KiB, 1MiB or 8GiB`,
		},
		"malformed number": {
			text: head + "lookup: {concurrency: many}\n",
			want: `FILE:2: lookup.concurrency: "many" is not a whole number; write digits, such as 32`,
		},
		"number out of range": {
			text: head + "lookup: {concurrency: 0}\n",
			want: `FILE:2: lookup.concurrency: 0 is out of range; write a value from 1 to 4096`,
		},
		"size out of range": {
			text: head + "gateway: {body_limit: 1B}\n",
			want: `FILE:2: gateway.body_limit: 1B is out of range; write a value from 1KiB to 8MiB`,
		},
		"horizon of no use": {
			text: head + "sweep: {horizon: 1m}\n",
			want: `FILE:2: sweep.horizon: 1m0s is out of range; write a value from 1h0m0s to 87600h0m0s`,
		},
		"rounds without a pause": {
			text: head + "sweep: {every: 0s}\n",
			want: `FILE:2: sweep.every: 0s is out of range; write a value from 100ms to 1h0m0s`,
		},
		"broken reference": {
			text: head + "nats: {name: \"${ONE\"}\n",
			want: `FILE:2: nats.name: is not a reference; write ${NAME} or ${NAME:-default} as the whole value, NAME of letters, digits and _`,
		},
		"reference in a reference": {
			text: head + "nats: {name: \"${ABSENT:-${ONE}}\"}\n",
			want: `FILE:2: nats.name: is not a reference; write ${NAME} or ${NAME:-default} as the whole value, NAME of letters, digits and _`,
		},
		"reference inside a text": {
			text: head + "nats: {name: \"a-${ONE}\"}\n",
			want: `FILE:2: nats.name: is not a reference; write ${NAME} or ${NAME:-default} as the whole value, NAME of letters, digits and _`,
		},
		"variable not set": {
			text: head + "gateway: {listen: \"${ABSENT}\"}\n",
			want: `FILE:2: gateway.listen: the environment variable ABSENT is not set; set it or write ${ABSENT:-default}`,
		},
		"profile": {
			text: head + "profile: prod\n",
			want: `FILE:2: profile: "prod" is not a profile; write production or local`,
		},
		"address": {
			text: head + "gateway: {listen: localhost}\n",
			want: `FILE:2: gateway.listen: "localhost" is not host:port; write one such as 127.0.0.1:8080, or :8080 for every interface`,
		},
		"admin on the public port": {
			text: head + "gateway: {listen: '127.0.0.1:80', admin: '127.0.0.1:80'}\n",
			want: `FILE:2: gateway.admin: is the address of gateway.listen too; write another port`,
		},
		"publish timeout longer than the answer may take": {
			text: head + "gateway:\n  publish_timeout: 6s\n",
			want: `FILE:3: gateway.publish_timeout: is not shorter than gateway.write_timeout, so the answer could not be written; write less than 5s`,
		},
		"webhooks that take longer than a stop": {
			text: head + "gateway:\n  read_timeout: 14s\n  publish_timeout: 1500ms\n",
			want: `FILE:3: gateway.read_timeout: and gateway.publish_timeout are 15.5s together, so a stop would cut webhooks off; write less, 15s at the most for both`,
		},
		"more connections than can be served": {
			text: head + "gateway: {max_connections: 262145}\n",
			want: `FILE:2: gateway.max_connections: 262145 is out of range; write a value from 1 to 262144
FILE:2: gateway.memory_limit: is too little for gateway.max_connections and gateway.body_memory; write 18391110KiB or more`,
		},
		"replicas": {
			text: head + "topology: {replicas: 2}\n",
			want: `FILE:2: topology.replicas: 2 is not a number of replicas; write 1 without a cluster, else 3 or 5`,
		},
		"broker URL": {
			text: head + "nats: {url: \"http://x\"}\n",
			want: `FILE:2: nats.url: is not a broker's URL; write one such as nats://127.0.0.1:4222, several with commas between them`,
		},
		"password in the broker URL": {
			text: head + "nats: {url: \"nats://me:canary@x:1\"}\n",
			want: `FILE:2: nats.url: carries a user or password; write them as nats.user and nats.password`,
		},
		"user without password": {
			text: head + "nats: {user: me}\n",
			want: `FILE:2: nats.user: has no password; write nats.password as ${NAME} or {file: path}`,
		},
		"password without user": {
			text: head + "nats: {password: \"${ONE}\"}\n",
			want: `FILE:2: nats.password: has no user; write nats.user`,
		},
		"two ways to log in": {
			text: head + "nats:\n  user: me\n  password: ${ONE}\n  credentials_file: arauto.yaml\n",
			want: `FILE:5: nats.credentials_file: holds no user's JWT with its seed; write the path of a .creds file, as nsc generates it
FILE:5: nats.credentials_file: stands beside nats.user or nats.password; keep one way to log in`,
		},
		"CA file missing": {
			text: head + "nats: {ca_file: nowhere}\n",
			want: `FILE:2: nats.ca_file: cannot read the file: no such file or directory; write the path of a readable file`,
		},
		"hash key missing": {
			text: "profile: production\n", role: RoleNormalize,
			want: `FILE:1: hash_key: is missing; write hash_key: ${ARAUTO_HASH_KEY} and never change its value`,
		},
		"empty file": {
			text: "", role: RoleGateway,
			want: `FILE:1: hash_key: is missing; write hash_key: ${ARAUTO_HASH_KEY} and never change its value`,
		},
		"hash key short": {
			text: "hash_key: ${ONE}\n", role: RoleNormalize,
			want: `FILE:1: hash_key: has fewer than 32 bytes; use 32 random ones and never change them`,
		},
		"hash key empty": {
			text: "hash_key: ${EMPTY}\n", role: RoleNormalize,
			want: `FILE:1: hash_key: the environment variable EMPTY is empty; set it to the value`,
		},
		"secret in the file": {
			text: "hash_key: canary-canary-canary\n",
			want: `FILE:1: hash_key: a secret must not stand in this file; write ${NAME} or {file: path} instead`,
		},
		"secret as a fallback": {
			text: "hash_key: ${HASH:-canary}\n",
			want: `FILE:1: hash_key: a secret must not stand in this file; write ${NAME} or {file: path} instead`,
		},
		"secret file without a name": {
			text: "hash_key: {}\n",
			want: `FILE:1: hash_key: names no file; write {file: path}`,
		},
		"secret file missing": {
			text: "hash_key: {file: canary}\n", role: RoleNormalize,
			want: `FILE:1: hash_key: cannot read its file: no such file or directory; write the path of a readable file`,
		},
		"secret file empty": {
			text: "hash_key: {file: empty}\n", role: RoleNormalize,
			want: `FILE:1: hash_key: its file is empty; put the value into it`,
		},
		"unknown provider for look-ups": {
			text: head + "lookup:\n  providers:\n    - alpha\n    - alpa\n",
			want: `FILE:5: lookup.providers[1]: "alpa" is not a provider; write alpha instead (known: alpha, bravo)`,
		},
		"unknown provider": {
			text: head + "providers:\n  charlie: {}\n",
			want: `FILE:3: providers.charlie: "charlie" is not a provider; write one of: alpha, bravo`,
		},
		"retry policy": {
			text: head + "providers:\n  alpha: {retry: brawo}\n",
			want: `FILE:3: providers.alpha.retry: "brawo" is not a retry policy; write bravo instead (known: default, bravo)`,
		},
		"delays that fall": {
			text: head + "providers:\n  alpha:\n    delays: [2s, 1s]\n",
			want: `FILE:4: providers.alpha.delays[1]: 1s does not come after 2s; write offsets from the first failure, ascending`,
		},
		"turned clock in production": {
			text: head + "time_scale: 3600\n",
			want: `FILE:2: time_scale: turns days of retries into seconds and is for tests; remove it, or write profile: local where no real payment is`,
		},
		"deployment that is no name": {
			text: head + "deployment: Shop/A\n",
			want: `FILE:2: deployment: "Shop/A" is not a name of a deployment; write 1 to 32 of a-z, 0-9 and -, none of them - at the beginning`,
		},
		"deployment that is too long": {
			text: head + "deployment: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
			want: `FILE:2: deployment: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" is not a name of a deployment; write 1 to 32 of a-z, 0-9 and -, none of them - at the beginning`,
		},
		"clock that stands still": {
			text: "profile: local\n" + head + "time_scale: 0\n",
			want: `FILE:3: time_scale: 0 is out of range; write a value from 1 to 1000000`,
		},
		"delays that repeat": {
			text: head + "providers:\n  alpha:\n    delays: [1s, 2s, 2s]\n",
			want: `FILE:4: providers.alpha.delays[2]: 2s does not come after 2s; write offsets from the first failure, ascending`,
		},
		"delay of nothing": {
			text: head + "providers:\n  alpha:\n    delays: [0s]\n",
			want: `FILE:4: providers.alpha.delays[0]: 0s is not after the first failure; write a positive duration`,
		},
		"account name": {
			text: head + "providers: {alpha: {accounts: {Main: {}}}}\n",
			want: `FILE:2: providers.alpha.accounts.Main: is not an account name; write at most 32 of a-z, 0-9 and -, not beginning with -`,
		},
		"shop name": {
			text: head + "providers: {alpha: {accounts: {default: {shop: Main Shop}}}}\n",
			want: `FILE:2: providers.alpha.accounts.default.shop: is not a name of a shop; write at most 32 of a-z, 0-9 and -, not beginning with -`,
		},
		"webhook secret missing": {
			text: account("        webhook_secrets: []\n"), role: RoleGateway,
			want: `FILE:5: providers.alpha.accounts.default: has no webhook_secrets; write webhook_secrets: ["${NAME}"]`,
		},
		"webhook secret not set": {
			text: account("        webhook_secrets:\n          - ${ONE}\n          - ${ABSENT}\n"), role: RoleGateway,
			want: `FILE:8: providers.alpha.accounts.default.webhook_secrets[1]: the environment variable ABSENT is not set; set it or write {file: path} instead`,
		},
		"first webhook secret empty": {
			text: account("        webhook_secrets: ['${EMPTY:-}', '${ONE}']\n"), role: RoleGateway,
			want: `FILE:6: providers.alpha.accounts.default.webhook_secrets[0]: is empty; only the second of two may be`,
		},
		"webhook secret with a newline": {
			text: account("        webhook_secrets: ['${LINE}']\n"), role: RoleGateway,
			want: `FILE:6: providers.alpha.accounts.default.webhook_secrets[0]: begins or ends with white space or holds a control character; remove it`,
		},
		"webhook secret with its scheme": {
			text: account("        webhook_secrets: ['${BEARER}']\n"), role: RoleGateway,
			want: `FILE:6: providers.alpha.accounts.default.webhook_secrets[0]: begins with Bearer, without which a header is compared; write only what follows it`,
		},
		"three webhook secrets": {
			text: account("        webhook_secrets: ['${ONE}', '${TWO}', '${ABSENT}']\n"),
			want: `FILE:6: providers.alpha.accounts.default.webhook_secrets: has 3 entries; write one, or two during a rotation`,
		},
		"secret of two accounts": {
			text: account("        webhook_secrets: ['${ONE}']\n      other:\n        webhook_secrets: ['${TWO}', '${ONE}']\n"), role: RoleGateway,
			want: `FILE:8: providers.alpha.accounts.other.webhook_secrets[1]: is a secret of account default too; give each account its own`,
		},
		"path key for a provider that signs": {
			text: account("        path_keys: ['${ONE}']\n"),
			want: `FILE:6: providers.alpha.accounts.default.path_keys: alpha authenticates its webhooks; write webhook_secrets instead`,
		},
		"webhook secret for a provider that does not sign": {
			text: head + "providers: {bravo: {accounts: {default: {webhook_secrets: ['${ONE}']}}}}\n",
			want: `FILE:2: providers.bravo.accounts.default.webhook_secrets: bravo does not sign its webhooks; write path_keys instead`,
		},
		"path key short": {
			text: head + "providers: {bravo: {accounts: {default: {path_keys: ['${SHORT}']}}}}\n", role: RoleGateway,
			want: `FILE:2: providers.bravo.accounts.default.path_keys[0]: has fewer than 16 bytes; use 32 random ones`,
		},
		"path key with a slash": {
			text: head + "providers: {bravo: {accounts: {default: {path_keys: ['${SLASH}']}}}}\n", role: RoleGateway,
			want: `FILE:2: providers.bravo.accounts.default.path_keys[0]: cannot stand in a URL path as it is; use A-Z, a-z, 0-9, _, ~ and - only`,
		},
		"unknown setting": {
			text: account("        settings:\n          base_ulr: x\n"),
			want: `FILE:7: providers.alpha.accounts.default.settings.base_ulr: alpha has no setting "base_ulr"; write base_url instead (known: base_url, token, mode)`,
		},
		"setting missing": {
			text: account("        settings:\n          base_url: https://a.example\n"), role: RoleLookup,
			want: `FILE:6: providers.alpha.accounts.default.settings.token: is missing; write token: ${NAME} (sent with look-ups)`,
		},
		"required setting empty": {
			text: account("        settings:\n          token: ${ONE}\n          base_url: ${EMPTY:-}\n"), role: RoleLookup,
			want: `FILE:8: providers.alpha.accounts.default.settings.base_url: is missing; write base_url: https://host (where it answers)`,
		},
		"secret setting in the file": {
			text: account("        settings:\n          token: canary\n"),
			want: `FILE:7: providers.alpha.accounts.default.settings.token: a secret must not stand in this file; write ${NAME} or {file: path} instead`,
		},
		"relative URL": {
			text: account("        settings:\n          base_url: a.example/api\n"),
			want: `FILE:7: providers.alpha.accounts.default.settings.base_url: is not an absolute URL; write one that begins with https:// and a host`,
		},
		"URL with a password": {
			text: account("        settings:\n          base_url: https://me:canary@a.example\n"),
			want: `FILE:7: providers.alpha.accounts.default.settings.base_url: carries a user or password; write the URL without it`,
		},
		"plain http from the environment": {
			text: account("        settings:\n          token: ${ONE}\n          base_url: ${PLAIN}\n"), role: RoleLookup,
			want: `FILE:8: providers.alpha.accounts.default.settings.base_url: sends credentials in plain text; write https:// (plain http is for this machine or profile local)`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, c.text)
			testbench.Must(t, os.WriteFile(filepath.Join(filepath.Dir(path), "empty"), []byte("\n"), 0o600))
			env := environment("BEARER", "bearer secret", "LINE", "secret\n", "SLASH", "0123456789/abcdef0123", "PLAIN", "http://10.0.0.1")
			_, err := Load(path, env, known, c.role)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if got := strings.ReplaceAll(err.Error(), path, "FILE"); got != c.want {
				t.Errorf("it says\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestAllMistakesAreReportedAtOnceByLine(t *testing.T) {
	t.Parallel()
	path := write(t, `gateway:
  listn: x
  read_timeout: soon
topology: {replicas: 2}
providers:
  alpha:
    accounts:
      default:
        webhook_secrets: ["${ABSENT}"]
        settings: {tokn: x}
nats: []
`)
	_, err := Load(path, environment(), known, RoleGateway, RoleLookup)
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("the error is %T", err)
	}
	lines := make([]int, len(problems))
	for i, p := range problems {
		lines[i] = p.Line
	}
	want := []int{1, 2, 3, 4, 9, 10, 10, 10, 11}
	same(t, "lines of\n"+err.Error(), lines, want)
}

func TestMissingFileIsAProblem(t *testing.T) {
	t.Parallel()
	_, err := Load("nowhere.yaml", environment(), known)
	if want := "nowhere.yaml: cannot read the configuration: no such file or directory; name an existing file with --config"; err == nil || err.Error() != want {
		t.Errorf("it says %v, want %s", err, want)
	}
}

func TestHugeFileIsRefused(t *testing.T) {
	t.Parallel()
	path := write(t, strings.Repeat("#", maxFile+1))
	if _, err := Load(path, environment(), known); err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("it says %v", err)
	}
}
