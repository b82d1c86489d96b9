package acceptance

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"arauto/deploy/local/supervise"
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

// lookUpRate is how many events per second a number of lookup processes make
// of a backlog.
func lookUpRate(b *testing.B, processes, notifications int) float64 {
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
	began := time.Now()
	for range processes {
		c := exec.CommandContext(s.ctx, filepath.Join(bin, "lookup"), "-config", filepath.Join(s.dir, "arauto.yaml"))
		c.Env = append(os.Environ(), "LOOKUP_CONCURRENCY=4")
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := c.Process.Kill(); err != nil {
				b.Error(err)
			}
			_ = c.Wait() // It says that it was killed.
		})
	}
	s.await("every event", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.events) == notifications
	})
	return float64(notifications) / time.Since(began).Seconds()
}
