package acceptance

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/local/supervise"
	"arauto/schemas/order"
	"arauto/schemas/record"
)

// arauto runs the operator's binary beside the stack and returns what it
// printed.
func (s *stack) arauto(args ...string) string {
	s.t.Helper()
	c := exec.CommandContext(s.ctx, filepath.Join(bin, "arauto"), append(args, "--config", filepath.Join(s.dir, "arauto.yaml"))...)
	out, err := c.Output()
	if err != nil {
		s.t.Fatalf("arauto %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestRedriveAfterAnOutageGivesTheRightEvent turns the clock so that the whole
// default policy passes in seconds, and keeps the provider down for longer.
func TestRedriveAfterAnOutageGivesTheRightEvent(t *testing.T) {
	t.Parallel()
	s := startTurned(t, "100000")
	s.set("sandbox", "r-1", map[string]any{"order": "o-1", "status": "paid", "amount": 10000})
	fault := "http://" + s.at.Simulator + "/_sim/sandbox/fault"
	if status, answer := s.call(http.MethodPut, fault, "application/json", nil, `{"kind":"500"}`); status != http.StatusOK {
		t.Fatalf("break the provider: %d %s", status, answer)
	}
	s.notify("r-1")
	letter := s.awaitLetter()
	if letter.Class != record.ClassProvider || letter.Payment != "r-1" || letter.Attempts == 0 || letter.LastAnswer != "unavailable" {
		t.Errorf("dead letter is %+v", letter)
	}
	if got := s.log("sandbox/default/r-1"); len(got) != 0 {
		t.Errorf("a payment that nobody could ask about has the events %v", got)
	}
	if status, answer := s.call(http.MethodPut, fault, "application/json", nil, `{"kind":"none"}`); status != http.StatusOK {
		t.Fatalf("mend the provider: %d %s", status, answer)
	}
	if out := s.arauto("dead", "redrive", "--class", "provider"); !strings.Contains(out, letter.ID+" sandbox/default/r-1: redriven\n") {
		t.Errorf("redrive says:\n%s", out)
	}
	if paid := s.awaitStatuses("sandbox/default/r-1", order.Paid)[0]; paid.Amount == nil || paid.Amount.Value != 10000 || paid.Order != "o-1" {
		t.Errorf("event is %+v", paid)
	}
	if out := s.arauto("dead", "list"); out != "no dead letters\n" {
		t.Errorf("open dead letters:\n%s", out)
	}
	if out := s.arauto("replay", "--since", "24h"); !strings.HasSuffix(out, "0 transitions\n") {
		t.Errorf("replay over a healthy log says:\n%s", out)
	}
	s.set("sandbox", "r-1", map[string]any{"status": "refunded", "refunded": 10000})
	if out := s.arauto("replay", "--order", "o-1", "--dry-run"); out != "sandbox/default/r-1: paid -> refunded, order o-1\n1 transitions\n" {
		t.Errorf("dry run says:\n%s", out)
	}
	if got := s.log("sandbox/default/r-1"); len(got) != 1 {
		t.Errorf("there are %d events, want 1", len(got))
	}
	if out := s.arauto("order", "show", "o-1"); strings.Count(out, "notification") < 1 || !strings.Contains(out, "redriven by") || !strings.Contains(out, "-> paid, transition 1") {
		t.Errorf("timeline:\n%s", out)
	}
	if out := s.arauto("status"); !strings.Contains(out, "parked: 0 look-ups") {
		t.Errorf("status:\n%s", out)
	}
}

// awaitLetter waits for the first dead letter.
func (s *stack) awaitLetter() record.DeadLetter {
	s.t.Helper()
	stream, err := s.js.Stream(s.ctx, "DEAD_LETTERS")
	testbench.Must(s.t, err)
	var raw *jetstream.RawStreamMsg
	testbench.Until(s.t, "a dead letter", func() bool {
		raw, err = stream.GetLastMsgForSubject(s.ctx, "dead.>")
		return err == nil
	})
	var l record.DeadLetter
	testbench.Must(s.t, json.Unmarshal(raw.Data, &l))
	return l
}

// startTurned is start on a clock that runs so many times as fast.
func startTurned(t testing.TB, scale string) *stack {
	t.Helper()
	return startWith(t, func(o *supervise.Options) { o.Env = turnedBy(scale) })
}

// turnedBy is the environment of processes whose clock runs so many times as fast.
func turnedBy(scale string) []string { return append(os.Environ(), "TIME_SCALE="+scale) }
