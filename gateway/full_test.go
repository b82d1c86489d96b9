package main

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/providers"
)

func TestMain(m *testing.M) {
	processtest.ServeFillable()
	testbench.Main(m)
}

// post sends one webhook and returns the status and Retry-After of the answer.
func post(t *testing.T, address string) (status int, later string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/v1/sandbox/notifications", strings.NewReader(`{"payment":"p"}`))
	testbench.Must(t, err)
	request.Header.Set("Authorization", "hook")
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	return answer.StatusCode, answer.Header.Get("Retry-After")
}

// A broker whose disk was full stores nothing until it is restarted, also when there is
// room again. Until then the gateway answers 503, and readyz names the broker.
func TestFullDiskIsReportedUntilTheBrokerIsRestarted(t *testing.T) {
	t.Parallel()
	f := processtest.StartFillable(t, providers.All.Names()...)
	address := "127.0.0.1:" + strconv.Itoa(processtest.FreePorts(t, 1)[0])
	s := start(t, "url: '"+f.URL+"', monitor_url: '"+f.Monitor+"'", "listen: '"+address+"', publish_timeout: 100ms, durability: power-loss")
	accepted := func() bool { status, _ := post(t, address); return status == http.StatusOK }
	testbench.Until(t, "a webhook is stored", accepted)
	reports := func(when string) {
		t.Helper()
		testbench.Until(t, when+": webhooks get 503, counted as store_failed", func() bool {
			before := s.value(t, storeFailed)
			status, later := post(t, address)
			return status == http.StatusServiceUnavailable && later == "5" && s.value(t, storeFailed) != before
		})
		testbench.Until(t, when+": readyz names the broker", func() bool {
			code, text := s.get(t, "/readyz")
			return code == http.StatusServiceUnavailable && strings.Contains(text, "the store of test is in a write error: NOTIFICATIONS (") &&
				strings.Contains(text, "free space on its disk, then restart that server")
		})
		if code, text := s.get(t, "/readyz?for=balancer"); code != http.StatusOK {
			t.Errorf("%s: readyz answers a balancer %d %s", when, code, text)
		}
	}
	f.Fill()
	reports("while the disk is full")
	f.Free()
	reports("when there is room again")
	f.Kill()
	f.Start()
	testbench.Until(t, "a webhook is stored again", accepted)
	testbench.Until(t, "it is ready", func() bool { code, _ := s.get(t, "/readyz"); return code == http.StatusOK })
	for _, want := range []string{`"broker.write_failed"`, "broker cannot write: the store of test is in a write error"} {
		if !strings.Contains(s.out.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

const storeFailed = `arauto_publish_failures_total{class="store_failed"}`

// value returns the value of one series of the process, "" without the series.
func (s *started) value(t *testing.T, series string) string {
	t.Helper()
	_, text := s.get(t, "/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return value
		}
	}
	return ""
}
