package acceptance

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/local/supervise"
)

// BenchmarkLookUpScales measures how the rate of look-ups grows with the
// number of lookup processes, four look-ups at a time each, against a provider
// that takes 200 ms. It is a benchmark: the ratios are printed, not judged.
func BenchmarkLookUpScales(b *testing.B) {
	const perProcess = 80
	for b.Loop() {
		base := 0.0
		for _, processes := range []int{1, 2, 4} {
			rate := lookUpRate(b, processes, perProcess*processes)
			if processes == 1 {
				base = rate
			}
			b.ReportMetric(rate, fmt.Sprintf("events/s@%d", processes))
			b.ReportMetric(rate/base, fmt.Sprintf("ratio@%d", processes))
		}
	}
}

// BenchmarkHealthyLookUpBesideOneWithoutEgress measures what a lookup process that
// reaches no provider costs a healthy one. The ratio is printed, not judged.
func BenchmarkHealthyLookUpBesideOneWithoutEgress(b *testing.B) {
	const notifications, window = 600, 20 * time.Second
	rate := func(sick int) float64 {
		s := backlog(b, notifications)
		healthy := filepath.Join(s.dir, "arauto.yaml")
		text, err := os.ReadFile(healthy)
		if err != nil {
			b.Fatal(err)
		}
		cut := filepath.Join(s.dir, "cut.yaml")
		if err := os.WriteFile(cut, bytes.ReplaceAll(text, []byte(s.at.Simulator), []byte("127.0.0.1:1")), 0o600); err != nil {
			b.Fatal(err)
		}
		for range sick {
			s.lookUp(cut)
		}
		s.lookUp(healthy)
		s.await("the first event", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.events) > 0 })
		s.rest(window)
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(len(s.events)) / window.Seconds()
	}
	for b.Loop() {
		alone := rate(0)
		beside := rate(1)
		b.ReportMetric(alone, "events/s@alone")
		b.ReportMetric(beside, "events/s@beside")
		b.ReportMetric(beside/alone, "ratio")
	}
}

// lookUpRate is how many events per second a number of lookup processes make
// of a backlog.
func lookUpRate(b *testing.B, processes, notifications int) float64 {
	b.Helper()
	s := backlog(b, notifications)
	began := time.Now()
	for range processes {
		s.lookUp(filepath.Join(s.dir, "arauto.yaml"))
	}
	s.await("every event", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.events) == notifications
	})
	return float64(notifications) / time.Since(began).Seconds()
}

// backlog is a stack without a lookup process, with notifications that wait for one
// and a provider that takes 200 ms.
func backlog(b *testing.B, notifications int) *stack {
	b.Helper()
	s := startRoles(b, []string{supervise.Simulator, supervise.Gateway, supervise.Normalize})
	for i := range notifications {
		s.set("sandbox", fmt.Sprintf("b-%d", i), map[string]any{"status": "paid"})
		s.notify(fmt.Sprintf("b-%d", i))
	}
	fault := "http://" + s.at.Simulator + "/_sim/sandbox/fault"
	if status, answer := s.call(http.MethodPut, fault, "application/json", nil, `{"kind":"slow","retry_after":0.2}`); status != http.StatusOK {
		b.Fatalf("slow the provider down: %d %s", status, answer)
	}
	return s
}

// lookUp starts a lookup process that makes four look-ups at a time, until the
// benchmark ends.
func (s *stack) lookUp(config string) {
	s.t.Helper()
	c := exec.CommandContext(s.ctx, filepath.Join(bin, "lookup"), "-config", config)
	c.Env = append(os.Environ(), "LOOKUP_CONCURRENCY=4")
	testbench.Must(s.t, c.Start())
	s.t.Cleanup(func() {
		if err := c.Process.Kill(); err != nil {
			s.t.Error(err)
		}
		_ = c.Wait() // It says that it was killed.
	})
}
