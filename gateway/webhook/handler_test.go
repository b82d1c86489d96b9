package webhook_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/webhook"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// faulty is a provider whose adapter fails as the body says.
func faulty() provider.Provider {
	return provider.Provider{
		Name:       "faulty",
		Vocabulary: map[order.Kind]map[string]order.Status{order.Payment: {}},
		SignsBody:  true,
		Verify: func(w provider.Webhook, secrets []string) (int, error) {
			if string(w.Body) == "verify" {
				return 0, errors.New("verify broke")
			}
			return provider.Static("authorization", "")(w, secrets)
		},
		Read: func(w provider.Webhook) ([]provider.Notice, error) {
			switch string(w.Body) {
			case "panic":
				panic("canary-from-the-body")
			case "index":
				return []provider.Notice{{Payment: strings.Split("a", ",")[len(w.Body)]}}, nil
			case "error":
				return nil, errors.New("read broke")
			case "nothing":
				return nil, nil
			case "dots":
				return []provider.Notice{{Kind: order.Payment, Payment: ".."}}, nil
			case "order":
				return []provider.Notice{{Kind: order.Payment, Payment: "p"}, {Kind: order.Payment, Payment: "p", Order: "."}}, nil
			}
			var all []provider.Notice
			for id := range strings.FieldsSeq(string(w.Body)) {
				all = append(all, provider.Notice{Kind: order.Payment, Payment: id})
			}
			return all, nil
		},
		Payload: func(provider.Target) (order.Fact, error) { return order.Fact{}, nil },
	}
}

func TestAdapterFaultIsUnavailable(t *testing.T) {
	t.Parallel()
	set := provider.MustSet(append(append(provider.Set{}, providers.All...), faulty())...)
	g := start(t, func(o *webhook.Options) {
		o.Providers, o.Credentials = set, options(t, set).Credentials
	})
	c := caller{name: "faulty", header: "authorization"}
	for body, want := range map[string]int{
		"panic": 503100, "index": 503100, "error": 503100, "nothing": 503100, "verify": 503100,
		// The gateway checks the ids that an adapter returns.
		"dots": 400103, "order": 400103,
	} {
		r := g.post(c.path("default", ""), c.headers(c.secret("default")), body)
		if got := r.code(t); got != want || got == 503100 && r.header.Get("retry-after") == "" {
			t.Errorf("%s: code %d, retry after %q", body, got, r.header.Get("retry-after"))
		}
	}
	// The process lives on.
	if got := g.post(c.path("default", ""), c.headers(c.secret("default")), "alive").code(t); got != 200 {
		t.Errorf("afterwards: code %d", got)
	}
	if got := g.metric("arauto_webhooks_total", "503100"); got != 5 {
		t.Errorf("%v faults are counted, want 5", got)
	}
	lines := g.lines()
	if !strings.Contains(lines, "webhook.panicked") || strings.Contains(lines, "canary") {
		t.Errorf("the panic's log: %s", lines)
	}
}

// lines returns the whole log: events with their fields as JSON.
func (g *gateway) lines() string {
	g.t.Helper()
	var b strings.Builder
	for _, entry := range g.logs.All() {
		raw, err := json.Marshal(entry.ContextMap())
		testbench.Must(g.t, err)
		fmt.Fprintf(&b, "%s %s\n", entry.Message, raw)
	}
	return b.String()
}

func TestEveryRequestIsLoggedAndCountedOnceWithoutSecrets(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	requests := 0
	for _, c := range callers(t) {
		secret := c.secret("default")
		for _, path := range []string{
			c.path("default", secret), c.path("default", "canary-key"), c.path("canary-account", "canary-key"),
			"/v1/canary-provider/notifications", "/v1/" + c.name + "/canary-key/notifications", "/canary-path",
		} {
			for _, id := range []string{"ok", "canary@example.com", "529.982.247-25", ""} {
				for _, credential := range []string{secret, "canary-token"} {
					target, headers, body := c.about("default", credential, id)
					if id == "" {
						body = "canary-body"
					}
					_, query, _ := strings.Cut(target, "?")
					g.post(path+"?"+query, with(headers, "x-other", "canary-header"), body)
					requests++
				}
			}
		}
	}
	g.raw("POST /v1/sandbox/notifications HTTP/1.1\r\nAuthorization : canary-token\r\n\r\n")
	requests++
	if got := g.logs.FilterMessage("webhook.answered").Len(); got != requests {
		t.Errorf("%d lines for %d requests", got, requests)
	}
	var counted float64
	for _, name := range append(providers.All.Names(), "none") {
		counted += g.metric("arauto_webhooks_total", name)
	}
	if int(counted) != requests {
		t.Errorf("%v counts for %d requests", counted, requests)
	}
	for _, canary := range []string{"canary", "secret", "529.982.247-25", "52998224725"} {
		if lines := g.lines(); strings.Contains(lines, canary) {
			t.Errorf("%q is in the log: %s", canary, lines)
		}
	}
}

func TestUnknownProvidersAndAccountsAddNoSeries(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	before := g.series()
	for i := range 20 {
		g.post(fmt.Sprintf("/v1/unknown-%d/notifications", i), nil, "{}")
		g.post(fmt.Sprintf("/v1/sandbox/unknown-%d/notifications", i), nil, "{}")
	}
	g.accepted("p")
	if after := g.series(); after != before {
		t.Errorf("%d series became %d", before, after)
	}
	if got := g.metric("arauto_webhook_durable_seconds", "sandbox"); got != 1 {
		t.Errorf("%v durable webhooks are timed, want 1", got)
	}
}

func TestAcceptedWebhookIsLoggedWithItsNotification(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	g.accepted("p-1")
	line := g.logs.FilterMessage("webhook.answered").All()[0].ContextMap()
	n := document(t, g.stored()[0])
	want := map[string]any{"result": "accepted", "provider": "sandbox", "account": "default", "notification": n.ID, "payment": "p-1"}
	for name, value := range want {
		if line[name] != value {
			t.Errorf("%s is %v, want %v", name, line[name], value)
		}
	}
	if _, ok := line["duration"]; !ok || len(line) != len(want)+1 {
		t.Errorf("the line has %v", line)
	}
}

func TestUnsafeOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for about, change := range map[string]func(*webhook.Options){
		"no publisher":           func(o *webhook.Options) { o.Publisher = nil },
		"no tokens":              func(o *webhook.Options) { o.Tokens = webhook.Options{}.Tokens },
		"negative limit":         func(o *webhook.Options) { o.BodyLimit = -1 },
		"unknown provider":       func(o *webhook.Options) { o.Credentials["nobody"] = map[string][]string{"a": {"canary"}} },
		"no credential":          func(o *webhook.Options) { o.Credentials["sandbox"]["default"] = nil },
		"empty credential":       func(o *webhook.Options) { o.Credentials["sandbox"]["default"] = []string{"canary", ""} },
		"third credential":       func(o *webhook.Options) { o.Credentials["sandbox"]["default"] = []string{"a", "b", "canary"} },
		"bad account name":       func(o *webhook.Options) { o.Credentials["sandbox"]["a.b"] = []string{"canary"} },
		"key that needs escapes": func(o *webhook.Options) { o.Credentials["yapay"]["default"] = []string{"canary/x"} },
	} {
		o := options(t, providers.All)
		o.Publisher = newGate()
		change(&o)
		if _, err := webhook.New(o); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", about, err)
		}
	}
	o := options(t, providers.All)
	o.Publisher = newGate()
	if _, err := webhook.New(o); err != nil {
		t.Fatal(err)
	}
	if _, err := webhook.New(o); err == nil {
		t.Error("two gateways share a registry")
	}
}
