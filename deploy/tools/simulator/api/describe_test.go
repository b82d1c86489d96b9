package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"arauto/deploy/tools/simulator/api"
)

// TestSimulatorDescribesWhatItTakes does what the description says.
func TestSimulatorDescribesWhatItTakes(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	got := b.do(http.MethodGet, "/_sim/", "")
	var d struct {
		Calls          []struct{ Call string }
		Faults         []struct{ Kind, Does string }
		Payment, Fault map[string]string
		Providers      map[string]map[string]map[string]string
	}
	if err := json.Unmarshal([]byte(got.body), &d); err != nil || got.status != http.StatusOK || b.do(http.MethodGet, "/_sim", "").body != got.body {
		t.Fatalf("status %d, %v: %s", got.status, err, got.body)
	}
	for _, kind := range d.Faults {
		if kind.Does == "" {
			t.Errorf("it does not say what %s does", kind.Kind)
		}
		b.steer("sandbox/fault", `{"kind":"`+kind.Kind+`"}`)
	}
	if len(d.Faults) < 9 {
		t.Errorf("faults are %v", d.Faults)
	}
	for _, name := range slugs {
		if len(d.Providers[name]["payments"]) < 5 {
			t.Errorf("words of %s are %v", name, d.Providers[name])
		}
		for word := range d.Providers[name]["payments"] {
			status := `"` + word + `"` // Yapay's numbers may be written so, too.
			if state := b.steer(name+"/default/payments/p", `{"status":`+status+`}`); !strings.Contains(state.body, status) {
				t.Errorf("%s: %s", name, state.body)
			}
		}
	}
	if d.Providers["picpay-checkout"]["authentications"]["AUTHENTICATED"] != "authenticated" || d.Providers["yapay"]["payments"]["6"] != "paid" {
		t.Errorf("words are %v", d.Providers)
	}
	for _, field := range []string{"order", "status", "amount", "refunded", "notify"} {
		if d.Payment[field] == "" {
			t.Errorf("the body of a payment lacks %s", field)
		}
	}
	for _, field := range []string{"kind", "count", "retry_after", "account"} {
		if d.Fault[field] == "" {
			t.Errorf("the body of a fault lacks %s", field)
		}
	}
	for _, call := range d.Calls {
		method, path, _ := strings.Cut(call.Call, " ")
		path = strings.NewReplacer("{provider}", "sandbox", "{account}", "default", "{payment}", "p", "{chargeId}", "c").Replace(path)
		body := `{}`
		if strings.HasSuffix(path, "/fault") {
			body = `{"kind":"none"}`
		}
		if got := b.do(method, path, body); got.status != http.StatusOK {
			t.Errorf("%s: %d %s", call.Call, got.status, got.body)
		}
	}
}
