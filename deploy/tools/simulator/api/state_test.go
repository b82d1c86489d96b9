package api_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/simulator/api"
)

func TestStateSurvivesAStopAndAKill(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"stop", "kill"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "new", "state.jsonl")
			first := simulate(t, api.Options{StateFile: file})
			for _, provider := range slugs {
				for _, word := range words[provider] {
					first.steer(provider+"/default/payments/a%2Fb", `{"order":"o","status":`+word+`,"amount":4711,"refunded":11}`)
				}
			}
			first.steer("picpay-checkout/acme/authentications/c", `{"status":"FAILED"}`)
			first.steer("picpay/default/payments/102030", `{"status":"refunded"}`)
			if end == "stop" {
				testbench.Must(t, first.sim.Close())
			} else {
				file = copyOf(t, file) // What a killed process leaves: nothing is flushed.
			}
			second := simulate(t, api.Options{StateFile: file})
			for _, provider := range slugs {
				got := second.do(http.MethodGet, "/_sim/"+provider+"/default/payments/a%2Fb", "").body
				if want := strings.Trim(words[provider][1], `"`); got != `{"order":"o","status":"`+want+`","amount":4711,"refunded":11}` {
					t.Errorf("%s: %s", provider, got)
				}
				second.steer(provider+"/fault", `{"kind":"stale"}`)
				escaped := "a%2Fb"
				if got := second.mustLook(provider, escaped); !says(provider, 0, got) {
					t.Errorf("%s: the state before the last change is lost: %s", provider, got.body)
				}
			}
			if got := second.do(http.MethodGet, "/_sim/picpay-checkout/acme/authentications/c", ""); !strings.Contains(got.body, `"FAILED"`) {
				t.Errorf("authentication: %s", got.body)
			}
			if got := second.do(http.MethodGet, "/_sim/picpay/default/payments/102030", ""); !strings.Contains(got.body, `"refunded"`) {
				t.Errorf("the example came back in its first state: %s", got.body)
			}
		})
	}
}

func copyOf(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	testbench.Must(t, err)
	other := filepath.Join(t.TempDir(), "state.jsonl")
	// A kill in the middle of a write leaves half a line behind.
	testbench.Must(t, os.WriteFile(other, append(raw, `{"provider":"picpay","acc`...), 0o600))
	return other
}

func TestAnUnreadableStateFileIsAnErrorThatNamesTheLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "state.jsonl")
	testbench.Must(t, os.WriteFile(file, []byte("{}\nnonsense\n{}\n"), 0o600))
	if _, err := api.New(api.Options{StateFile: file}); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v", err)
	}
}

func TestTheStateFileDoesNotGrowWithoutBound(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "state.jsonl")
	b := simulate(t, api.Options{StateFile: file})
	for i := range 3000 {
		b.steer("sandbox/default/payments/p", fmt.Sprintf(`{"amount":%d}`, i))
	}
	raw, err := os.ReadFile(file)
	testbench.Must(t, err)
	if lines := strings.Count(string(raw), "\n"); lines > 1100 {
		t.Errorf("%d lines for four payments", lines)
	}
	testbench.Must(t, b.sim.Close())
	raw, err = os.ReadFile(file)
	testbench.Must(t, err)
	if lines := strings.Count(string(raw), "\n"); lines != 4 || !strings.Contains(string(raw), `"amount":2999,`) {
		t.Errorf("after the stop: %s", raw)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
		t.Errorf("left beside the state file: %v, %v", left, err)
	}
}

func TestChangesAreRefusedAfterClose(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{StateFile: filepath.Join(t.TempDir(), "state.jsonl")})
	for range 2 {
		testbench.Must(t, b.sim.Close())
	}
	if got := b.do(http.MethodPut, "/_sim/sandbox/default/payments/p", `{}`); got.status != http.StatusServiceUnavailable {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestUnusableOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]api.Options{
		"relative gateway":  {GatewayURL: "127.0.0.1:8080"},
		"gateway of a file": {GatewayURL: "file:///gateway"},
		"state is a folder": {StateFile: t.TempDir()},
	} {
		if _, err := api.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
