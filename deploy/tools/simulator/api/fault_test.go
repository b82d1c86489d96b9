package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/simulator/api"
)

// each runs a test for every provider, with a payment p that was first in its
// first word and is now in its second.
func each(t *testing.T, test func(t *testing.T, b *bench, provider string)) {
	for _, provider := range slugs {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			b := simulate(t, api.Options{})
			for _, word := range words[provider] {
				b.steer(provider+"/default/payments/p", `{"status":`+word+`}`)
			}
			test(t, b, provider)
		})
	}
}

// says reports whether an answer has the provider's first or second word.
func says(provider string, which int, a answer) bool {
	word := words[provider][which]
	if !strings.HasPrefix(words[provider][0], `"`) {
		word = strings.Trim(word, `"`) + ","
	}
	return a.status == http.StatusOK && strings.Contains(a.body, word)
}

func TestStatusFaultsAnswerAsTheProviderWordsThem(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench, provider string) {
		for _, status := range []int{500, 401, 404, 429} {
			b.steer(provider+"/fault", fmt.Sprintf(`{"kind":"%d","count":1,"retry_after":1.5}`, status))
			got := b.mustLook(provider, "p")
			if got.status != status || !json.Valid([]byte(got.body)) || strings.Contains(got.body, "200") {
				t.Errorf("%d: got %d %s", status, got.status, got.body)
			}
			if wait := got.header.Get("Retry-After"); (wait == "2") != (status == 429) {
				t.Errorf("%d: Retry-After %q", status, wait)
			}
			if got := b.mustLook(provider, "p"); !says(provider, 1, got) {
				t.Errorf("after %d: got %d %s", status, got.status, got.body)
			}
		}
	})
}

func TestA401FaultIsWordedAsABadCredential(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"picpay": "O Token informado é inválido", "picpay-checkout": "Authorization token not found.", "yapay": "001001",
	}
	each(t, func(t *testing.T, b *bench, provider string) {
		b.steer(provider+"/fault", `{"kind":"401"}`)
		if got := b.mustLook(provider, "p"); !strings.Contains(got.body, want[provider]) {
			t.Errorf("got %s", got.body)
		}
	})
}

func TestResetFaultsCloseWithATCPReset(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench, provider string) {
		b.steer(provider+"/fault", `{"kind":"reset","count":2}`)
		// The client repeats a GET whose reused connection broke: a fresh one
		// for each request keeps the count honest.
		b.client.Transport.(*http.Transport).DisableKeepAlives = true
		for range 2 {
			if _, err := b.look(provider, "p"); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v, want a connection reset", err)
			}
		}
		if got := b.mustLook(provider, "p"); !says(provider, 1, got) {
			t.Errorf("after: got %d %s", got.status, got.body)
		}
	})
}

func TestGarbageFaultsAre200AndNotJSON(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench, provider string) {
		b.steer(provider+"/fault", `{"kind":"garbage"}`)
		for range 3 {
			if got := b.mustLook(provider, "p"); got.status != http.StatusOK || json.Valid([]byte(got.body)) || got.body == "" {
				t.Errorf("got %d %q", got.status, got.body)
			}
		}
		b.steer(provider+"/fault", `{"kind":"none"}`)
		if got := b.mustLook(provider, "p"); !says(provider, 1, got) {
			t.Errorf("after: got %d %s", got.status, got.body)
		}
	})
}

func TestStaleFaultsAnswerTheStateBeforeTheLastPut(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench, provider string) {
		b.steer(provider+"/default/payments/new", `{}`)
		b.steer(provider+"/fault", `{"kind":"stale","count":2}`)
		if got := b.mustLook(provider, "p"); !says(provider, 0, got) {
			t.Errorf("stale: got %d %s", got.status, got.body)
		}
		if got := b.mustLook(provider, "new"); got.status != http.StatusNotFound && got.status != http.StatusBadRequest {
			t.Errorf("stale without a former state: got %d %s", got.status, got.body)
		}
		if got := b.mustLook(provider, "p"); !says(provider, 1, got) {
			t.Errorf("after: got %d %s", got.status, got.body)
		}
	})
}

func TestStaleOfAnUntouchedExampleIsItsState(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.steer("picpay/fault", `{"kind":"stale"}`)
	if got := b.mustLook("picpay", "102030"); !says("picpay", 1, got) {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestSlowFaultsWaitAndThenAnswer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench, provider string) {
		for body, least := range map[string]time.Duration{
			`{"kind":"slow"}`:                    200 * time.Millisecond,
			`{"kind":"slow","retry_after":0.03}`: 30 * time.Millisecond,
		} {
			b.steer(provider+"/fault", body)
			start := time.Now()
			got := b.mustLook(provider, "p")
			if took := time.Since(start); took < least || !says(provider, 1, got) {
				t.Errorf("%s: got %d %s after %s", body, got.status, got.body, took)
			}
		}
	})
}

func TestSlowAnswersEndWhenTheClientGoesAway(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.steer("sandbox/fault", `{"kind":"slow","retry_after":3600}`)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { gone <- ask(ctx, b) }()
	b.until("sandbox/lookups", `{"x":1}`)
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	b.untilMetric(`arauto_simulator_lookups_total{provider="sandbox",result="aborted"} 1`)
}

func TestSlowAnswersEndWhenTheSimulatorStops(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.steer("sandbox/fault", `{"kind":"slow","retry_after":3600}`)
	gone := make(chan error, 1)
	go func() { gone <- ask(t.Context(), b) }()
	b.until("sandbox/lookups", `{"x":1}`)
	if err := b.sim.Close(); err != nil {
		t.Error(err)
	}
	if err := <-gone; err == nil {
		t.Error("a look-up under way was answered though the simulator stopped")
	}
}

// ask looks up payment x of the sandbox and returns why it got no answer.
func ask(ctx context.Context, b *bench) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/sandbox/payments/x", nil)
	if err != nil {
		return err
	}
	r.Header.Set("authorization", "sandbox-lookup-token")
	resp, err := b.client.Do(r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// until asks a control call until it answers as wanted.
func (b *bench) until(path, want string) {
	b.t.Helper()
	b.wait(want, func() bool { return b.do(http.MethodGet, "/_sim/"+path, "").body == want })
}

func (b *bench) untilMetric(want string) {
	b.t.Helper()
	b.wait(want, func() bool { return strings.Contains(b.do(http.MethodGet, "/metrics", "").body, want) })
}

func (b *bench) wait(what string, done func() bool) {
	b.t.Helper()
	testbench.Until(b.t, what, done)
}

func TestFaultsOfOneAccountLeaveTheOthersAlone(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.steer("sandbox/default/payments/p", `{}`)
	b.steer("sandbox/acme/payments/p", `{}`)
	status := func(token string) int {
		return b.do(http.MethodGet, "/sandbox/payments/p", "", "authorization", token).status
	}
	expect := func(when string, mine, acme int) {
		t.Helper()
		if a, b := status("sandbox-lookup-token"), status("acme-sandbox-lookup-token"); a != mine || b != acme {
			t.Errorf("%s: default %d and acme %d, want %d and %d", when, a, b, mine, acme)
		}
	}
	b.steer("sandbox/fault", `{"kind":"500","account":"acme"}`)
	expect("acme's fault", 200, 500)
	b.steer("sandbox/fault", `{"kind":"404","account":"default"}`)
	expect("a fault each", 404, 500)
	b.steer("sandbox/fault", `{"kind":"429"}`)
	expect("everybody's fault", 429, 429)
	b.steer("sandbox/fault", `{"kind":"none","account":"acme"}`)
	expect("acme excepted", 429, 200)
	b.steer("sandbox/fault", `{"kind":"none"}`)
	expect("no fault", 200, 200)
}

func TestACountOfEveryAccountIsSharedAndLeavesOtherProvidersAlone(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.steer("sandbox/default/payments/p", `{}`)
	b.steer("sandbox/acme/payments/p", `{}`)
	b.steer("sandbox/fault", `{"kind":"500","count":3}`)
	var got []int
	for range 2 {
		for _, token := range []string{"sandbox-lookup-token", "acme-sandbox-lookup-token"} {
			got = append(got, b.do(http.MethodGet, "/sandbox/payments/p", "", "authorization", token).status)
		}
	}
	if fmt.Sprint(got) != "[500 500 500 200]" {
		t.Errorf("got %v", got)
	}
	b.steer("sandbox/fault", `{"kind":"500"}`)
	if got := b.mustLook("picpay", "102030"); got.status != http.StatusOK {
		t.Errorf("picpay under the sandbox's fault: %d", got.status)
	}
}

func TestFaultsDoNotHitTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.steer("picpay-checkout/fault", `{"kind":"500"}`)
	b.token("default") // Fails the test without a token.
}
