package webhook_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/webhook"
	"arauto/schemas/providers"
)

func TestReplacedAccountsHoldFromTheNextWebhook(t *testing.T) {
	t.Parallel()
	broker := testbench.Start(t, providers.All.Names()...)
	o := options(t, providers.All)
	o.Publisher = publisher(t, broker.Connect(), 20*time.Second)
	began := time.Now()
	o.Clock = func() time.Time { return began } // No limit is refilled.
	o.Limits = map[string]map[string]webhook.Limit{"sandbox": {"default": {Rate: 1, Burst: 1}}}
	g := &gateway{t: t, broker: broker, ended: make(chan error, 1)}
	w := g.run(o)
	send := func(account, secret string) int {
		return g.post("/v1/sandbox/"+account+"/notifications", map[string]string{"authorization": secret}, `{"payment":"p"}`).status
	}
	first := o.Credentials["sandbox"]["default"][0]
	if status := send("default", first); status != http.StatusOK {
		t.Fatalf("before: %d", status)
	}
	next := webhook.Accounts{Credentials: maps.Clone(o.Credentials), Limits: maps.Clone(o.Limits)}
	next.Credentials["sandbox"] = map[string][]string{"default": {"rotated"}, "added": {"secret"}}
	testbench.Must(t, w.Replace(next))
	for name, c := range map[string]struct {
		account, secret string
		want            int
	}{
		"a secret that was removed":   {"default", first, http.StatusBadRequest},
		"an account that was added":   {"added", "secret", http.StatusOK},
		"an account that was removed": {"acme", o.Credentials["sandbox"]["acme"][0], http.StatusUnauthorized},
		"a limit that is used up":     {"default", "rotated", http.StatusServiceUnavailable},
	} {
		if status := send(c.account, c.secret); status != c.want {
			t.Errorf("%s: %d, want %d", name, status, c.want)
		}
	}
	bad := webhook.Accounts{Credentials: map[string]map[string][]string{"sandbox": {"default": {""}}, "nobank": {}}}
	err := w.Replace(bad)
	if err == nil || !strings.Contains(err.Error(), "account default of sandbox: a credential is empty") || !strings.Contains(err.Error(), "nobank") {
		t.Errorf("error is %v", err)
	}
	if status := send("added", "secret"); status != http.StatusOK {
		t.Errorf("after accounts that are refused: %d", status)
	}
}
