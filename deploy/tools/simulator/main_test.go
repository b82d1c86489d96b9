package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/simulator/api"
)

func TestMain(m *testing.M) { testbench.Main(m) }

func TestServeAnswersUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	o := api.Options{StateFile: filepath.Join(t.TempDir(), "state.jsonl"), Log: zap.NewNop()}
	go func() { ended <- serve(ctx, listener, o) }()

	base := "http://" + listener.Addr().String()
	get(t, base+"/readyz", "", http.StatusOK)
	get(t, base+"/sandbox/payments/1", "sandbox-lookup-token", http.StatusNotFound)

	// A slow answer under way must not hold the stop up.
	put(t, base+"/_sim/sandbox/fault", `{"kind":"slow","retry_after":3600}`)
	slow := make(chan error, 1)
	go func() {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/sandbox/payments/2", nil)
		r.Header.Set("authorization", "sandbox-lookup-token")
		resp, err := client.Do(r)
		if err == nil {
			err = errors.Join(errors.New("it was answered"), resp.Body.Close())
		}
		slow <- err
	}()
	await(t, base+"/_sim/sandbox/lookups", `"2":1`)
	begin := time.Now()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
	if err := <-slow; err == nil || time.Since(begin) > goodbye {
		t.Errorf("slow answer: %v after %s", err, time.Since(begin))
	}
}

// await asks until the answer has what is wanted.
func await(t *testing.T, url, want string) {
	t.Helper()
	testbench.Until(t, want, func() bool {
		resp, err := client.Get(url)
		testbench.Must(t, err)
		body, err := io.ReadAll(resp.Body)
		testbench.Must(t, errors.Join(err, resp.Body.Close()))
		return strings.Contains(string(body), want)
	})
}

// client opens a connection per request, so that none outlives the test.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}

func get(t *testing.T, url, token string, want int) {
	t.Helper()
	send(t, http.MethodGet, url, "", token, want)
}

func put(t *testing.T, url, body string) {
	t.Helper()
	send(t, http.MethodPut, url, body, "", http.StatusOK)
}

func send(t *testing.T, method, url, body, token string, want int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	testbench.Must(t, err)
	r.Header.Set("authorization", token)
	resp, err := client.Do(r)
	testbench.Must(t, err)
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if resp.StatusCode != want {
		t.Errorf("%s %s: %d, want %d", method, url, resp.StatusCode, want)
	}
}

func TestStartRefusesWhatItCannotUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	defer taken.Close()
	cases := map[string]struct {
		args []string
		want string
	}{
		"unknown flag":   {[]string{"-lisen", "x"}, "flag provided but not defined"},
		"argument":       {[]string{"x"}, `unexpected argument "x"`},
		"taken address":  {[]string{"-listen", taken.Addr().String()}, "open socket"},
		"gateway":        {[]string{"-listen", "127.0.0.1:0", "-gateway", "x"}, "gateway URL"},
		"unusable state": {[]string{"-listen", "127.0.0.1:0", "-state", t.TempDir()}, "state file"},
	}
	for name, c := range cases {
		if err := start(t.Context(), c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := start(t.Context(), []string{"-h"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}
