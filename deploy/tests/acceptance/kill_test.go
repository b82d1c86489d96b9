package acceptance

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// TestKilledChildrenLoseNothing kills each kind of child while notifications
// come in: every 200 ends in its event, each transition once.
func TestKilledChildrenLoseNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	const payments, rounds = 100, 10
	for i := range payments {
		s.set("sandbox", fmt.Sprintf("k-%d", i), map[string]any{"status": "paid"})
	}
	accepted := make([]atomic.Int64, payments)
	var sending sync.WaitGroup
	for sender := range 4 {
		sending.Go(func() {
			for n := sender; n < payments*rounds; n += 4 {
				payment := n % payments
				for !s.offer(fmt.Sprintf("k-%d", payment)) { // A provider repeats what was not answered 200.
					if s.ctx.Err() != nil {
						return
					}
				}
				accepted[payment].Add(1)
			}
		})
	}
	done := make(chan struct{})
	go func() { sending.Wait(); close(done) }()
	kills := s.killAtRandom(done)
	if kills < 4 {
		t.Errorf("only %d kills hit a child, so this shows little", kills)
	}
	s.await("an event of every payment", func() bool {
		for i := range payments {
			if len(s.log(fmt.Sprintf("sandbox/default/k-%d", i))) == 0 {
				return false
			}
		}
		return true
	})
	s.drained()
	for i := range payments {
		if got := accepted[i].Load(); got != rounds {
			t.Errorf("payment %d: %d of %d notifications accepted", i, got, rounds)
		}
		s.awaitStatuses(fmt.Sprintf("sandbox/default/k-%d", i), order.Paid)
	}
	t.Logf("%d notifications, %d kills", payments*rounds, kills)
}

// offer sends a notification and reports whether it was answered 200.
func (s *stack) offer(payment string) bool {
	status, _ := s.call(http.MethodPost, "http://"+s.at.Gateway+"/v1/sandbox/notifications", "application/json",
		map[string]string{"authorization": "sandbox-local-token"}, fmt.Sprintf(`{"payment":%q}`, payment))
	return status == http.StatusOK
}

// killAtRandom sends SIGKILL to one child after the other until done, and
// returns how many it hit.
func (s *stack) killAtRandom(done <-chan struct{}) int {
	dice := rand.New(rand.NewPCG(1, 2))
	roles := []string{"gateway", "lookup", "normalize", "sweep", "expect"}
	ticker := time.NewTicker(150 * time.Millisecond)
	defer ticker.Stop()
	for kills := 0; ; {
		select {
		case <-done:
			return kills
		case <-ticker.C:
			if pid := s.child(roles[dice.IntN(len(roles))]); pid != 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
				kills++
			}
		}
	}
}

// child finds this stack's child of a role: the process that runs its binary
// with this stack's configuration folder as its own.
func (s *stack) child(role string) int {
	processes, err := filepath.Glob("/proc/[0-9]*")
	testbench.Must(s.t, err)
	for _, p := range processes {
		exe, err := os.Readlink(filepath.Join(p, "exe"))
		if err != nil || exe != filepath.Join(bin, role) {
			continue
		}
		command, err := os.ReadFile(filepath.Join(p, "cmdline"))
		environment, envErr := os.ReadFile(filepath.Join(p, "environ"))
		if err != nil || envErr != nil || !bytes.Contains(command, []byte(s.dir)) && !bytes.Contains(environment, []byte(s.dir)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(p)); err == nil {
			return pid
		}
	}
	return 0
}

// drained waits until every consumer has nothing left to do.
func (s *stack) drained() {
	s.t.Helper()
	left := -1
	if !testbench.Poll(s.ctx, func() bool {
		left = 0
		for _, c := range topology.Consumers(topology.Settings{Providers: providers.All.Names()}) {
			if c.Stream == subject.LookupRetries {
				continue // Rechecks of the past come due at their own time.
			}
			consumer, err := s.js.Consumer(s.ctx, c.Stream, c.Durable)
			testbench.Must(s.t, err)
			info := consumer.CachedInfo()
			left += int(info.NumPending) + info.NumAckPending //nolint:gosec // A test's backlog is small.
		}
		return left == 0
	}) {
		s.t.Fatalf("%d messages are still not done", left)
	}
}
