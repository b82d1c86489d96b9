package webhook_test

import (
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"arauto/gateway/webhook"
)

func TestRefusedWebhookIsLoggedWithRuleAndFieldButNoValue(t *testing.T) {
	t.Parallel()
	type want struct{ provider, result, rule, field string }
	json := map[string]string{"content-type": "application/json; boundary=canary"}
	as := func(headers map[string]string, name, value string) map[string]string {
		all := maps.Clone(json)
		maps.Copy(all, headers)
		all[name] = value
		return all
	}
	g, seen := start(t, func(o *webhook.Options) { o.BodyLimit = 500 }), 0
	picpay := as(nil, "x-seller-token", "default-picpay-secret-one")
	for name, c := range map[string]struct {
		path    string
		headers map[string]string
		body    string
		want    want
	}{
		"no id":              {"/v1/picpay/notifications", picpay, `{"x": "canary"}`, want{"picpay", "400103", "missing", "referenceId"}},
		"wrong type":         {"/v1/picpay/notifications", picpay, `{"referenceId": ["canary"]}`, want{"picpay", "400103", "type", "referenceId"}},
		"no JSON":            {"/v1/picpay/notifications", picpay, "canary", want{"picpay", "400103", "body", ""}},
		"key twice":          {"/v1/picpay/notifications", picpay, `{"x": "canary", "x": 1}`, want{"picpay", "400103", "key", "x"}},
		"no form":            {"/v1/yapay/default/default-yapay-secret-one/notifications", json, "token_transaction=canary%21", want{"yapay", "400103", "form", "token_transaction"}},
		"no credential":      {"/v1/picpay/notifications", json, `{"x": "canary"}`, want{"picpay", "401100", "credential_missing", "x-seller-token"}},
		"wrong credential":   {"/v1/picpay/notifications", as(nil, "x-seller-token", "canary"), "{}", want{"picpay", "400105", "credential", "x-seller-token"}},
		"wrong path key":     {"/v1/yapay/default/canary/notifications", json, "canary", want{"yapay", "401100", "path_key", ""}},
		"unknown account":    {"/v1/picpay/canary/notifications", picpay, "{}", want{"picpay", "401100", "account", ""}},
		"unknown provider":   {"/v1/canary/notifications?canary=1", picpay, "{}", want{"none", "404100", "path", ""}},
		"compressed":         {"/v1/picpay/notifications", as(picpay, "content-encoding", "br"), "canary", want{"picpay", "415100", "content_encoding", ""}},
		"larger than it may": {"/v1/picpay/notifications", picpay, strings.Repeat("canary", 100), want{"picpay", "413100", "body_size", ""}},
	} {
		before := g.metric("arauto_webhooks_total", c.want.rule)
		answer := g.post(c.path, c.headers, c.body)
		lines := g.logs.FilterMessage("webhook.refused").FilterLevelExact(zapcore.WarnLevel).All()
		if got := fmt.Sprint(answer.code(t)); got != c.want.result || len(lines) != seen+1 {
			t.Fatalf("%s: code %s, want %s; %d warnings, want %d", name, got, c.want.result, len(lines), seen+1)
		}
		line := lines[seen].ContextMap()
		seen++
		got := want{fmt.Sprint(line["provider"]), fmt.Sprint(line["result"]), fmt.Sprint(line["rule"]), fmt.Sprint(line["field"])}
		if got != c.want {
			t.Errorf("%s: it says %+v, want %+v", name, got, c.want)
		}
		if line["content_type"] != "application/json" || line["bytes"] != int64(len(c.body)) || !strings.HasPrefix(fmt.Sprint(line["remote"]), "127.0.0.1:") {
			t.Errorf("%s: it says %v, the body has %d bytes", name, line, len(c.body))
		}
		if g.metric("arauto_webhooks_total", c.want.rule) != before+1 {
			t.Errorf("%s: rule %s is not counted", name, c.want.rule)
		}
	}
	if text := g.lines(); strings.Contains(text, "canary") {
		t.Errorf("a value is in the log: %s", text)
	}
}

func TestFloodOfRefusedWebhooksIsCountedAndNotLogged(t *testing.T) {
	t.Parallel()
	var minutes atomic.Int64
	began := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	g := start(t, func(o *webhook.Options) {
		o.Clock = func() time.Time { return began.Add(time.Duration(minutes.Load()) * time.Minute) }
	})
	refuse := func(body string) {
		if code := g.post("/v1/picpay/notifications", map[string]string{"x-seller-token": "default-picpay-secret-one"}, body).code(t); code != 400103 {
			t.Fatalf("code %d", code)
		}
	}
	warnings := func() []string {
		var all []string
		for _, line := range g.logs.FilterMessage("webhook.refused").All() {
			all = append(all, fmt.Sprint(line.ContextMap()["rule"], line.ContextMap()["unlogged"]))
		}
		return all
	}
	for range 15 {
		refuse("{}")
	}
	refuse("no JSON")
	if got := warnings(); len(got) != 11 || got[10] != "body0" {
		t.Errorf("of 15 webhooks that break one rule and one that breaks another these are logged: %v", got)
	}
	minutes.Store(1)
	refuse("{}")
	if got := warnings(); len(got) != 12 || got[11] != "missing5" {
		t.Errorf("later these are logged: %v", got)
	}
	if got := g.metric("arauto_webhooks_total", "missing"); got != 16 {
		t.Errorf("%v are counted, want 16", got)
	}
}
