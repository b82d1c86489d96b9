package acceptance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/local/supervise"
)

const (
	strangerBody = 250 << 10 // Bytes that each declares.
	strangerSent = 64 << 10  // Bytes that each sends before it waits.
	strangersMax = 10_000
	strangersMin = 4_000
	gatewayMost  = 150 << 10 // KiB of memory that the gateway may ever take.
)

// stranger opens a connection and sends the beginning of a large body without a
// credential. Whether all of it is taken is not its concern.
func stranger(address string, block []byte) (net.Conn, error) {
	conn, err := net.Dial("tcp", address) //nolint:noctx // It ends with the test.
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(conn, "POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", strangerBody)
	_, _ = conn.Write(block)
	return conn, nil
}

// crowd is how many strangers fit into the files that this process, and the
// gateway, may have open.
func crowd(t testing.TB) int {
	t.Helper()
	var limit syscall.Rlimit
	testbench.Must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	n := min(strangersMax, int(min(limit.Cur, 1<<20))-1000)
	if n < strangersMin {
		t.Fatalf("the limit of %d open files leaves no room for %d strangers", limit.Cur, strangersMin)
	}
	return n
}

// peak is the most memory that a process has ever had, in KiB.
func peak(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	testbench.Must(t, err)
	for line := range bytes.Lines(status) {
		var kib int
		if n, _ := fmt.Sscanf(string(line), "VmHWM: %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatalf("process %d does not say its memory", pid)
	return 0
}

// TestBodiesOfStrangersTakeNoMemory has thousands of strangers send large bodies
// at once and hold their connections: the gateway stays small, closes them, and
// answers the webhooks of a real account meanwhile.
func TestBodiesOfStrangersTakeNoMemory(t *testing.T) {
	t.Parallel()
	n := crowd(t)
	s := startRoles(t, []string{supervise.Gateway})
	pid := s.child("gateway")
	before := peak(t, pid)
	opened, done := make(chan struct{}), make(chan struct{})
	var served, refused int
	var slowest time.Duration
	go func() {
		defer close(done)
		for last := false; !last; {
			select {
			case <-opened:
				last = true // One more while all of them are there.
			default:
			}
			began := time.Now()
			if s.offerAlone(fmt.Sprintf("real-%d", served+refused)) {
				served++
			} else {
				refused++
			}
			slowest = max(slowest, time.Since(began))
		}
	}()
	conns := s.invade(n)
	close(opened)
	<-done
	statuses := map[string]int{}
	for _, conn := range conns {
		statuses[s.refusal(conn)]++
	}
	after := peak(t, pid)
	t.Logf("%d strangers: %v; the gateway's peak went from %d to %d KiB; of %d real webhooks %d were not accepted, the slowest took %v",
		n, statuses, before, after, served+refused, refused, slowest)
	if after > gatewayMost {
		t.Errorf("the gateway took %d KiB, want at most %d", after, gatewayMost)
	}
	if served == 0 || refused > 0 {
		t.Errorf("%d real webhooks were accepted, %d were not", served, refused)
	}
	if statuses["open"] > 0 {
		t.Errorf("%d strangers still hold their connection", statuses["open"])
	}
}

// invade lets n strangers in, as fast as they can.
func (s *stack) invade(n int) []net.Conn {
	s.t.Helper()
	conns, problems := make([]net.Conn, n), make([]error, n)
	block := bytes.Repeat([]byte("x"), strangerSent)
	var dialing sync.WaitGroup
	const dialers = 64
	for d := range dialers {
		dialing.Go(func() {
			for i := d; i < n; i += dialers {
				conns[i], problems[i] = stranger(s.at.Gateway, block)
			}
		})
	}
	dialing.Wait()
	s.t.Cleanup(func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	})
	testbench.Must(s.t, errors.Join(problems...))
	return conns
}

// refusal is the status of the answer on a stranger's connection; "reset" if it
// was lost because the stranger was still sending, "open" if there is no end.
func (s *stack) refusal(conn net.Conn) string {
	s.t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "open"
	case err != nil:
		return "reset"
	}
	return answer.Status
}

// offerAlone is offer on a connection of its own, which has to be accepted among
// all the others.
func (s *stack) offerAlone(payment string) bool {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(s.ctx, http.MethodPost, "http://"+s.at.Gateway+"/v1/sandbox/notifications",
		strings.NewReader(fmt.Sprintf(`{"payment":%q}`, payment)))
	if err != nil {
		return false
	}
	request.Header.Set("Authorization", "sandbox-local-token")
	answer, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}
