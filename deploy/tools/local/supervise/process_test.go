package supervise

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// program is the supervisor's own binary as a process.
type program struct {
	Addresses
	cmd   *exec.Cmd
	out   *output
	admin []string // Addresses of the children's own listeners.
	wait  func() error
}

// launch starts the binary and waits until everything is ready.
func launch(ctx context.Context, t *testing.T) *program {
	t.Helper()
	p := &program{out: newOutput()}
	p.cmd = exec.Command(filepath.Join(binDir, "local"), "-dir", t.TempDir(),
		"-nats", "127.0.0.1:0", "-gateway", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-simulator", "127.0.0.1:0")
	p.cmd.Env = append(os.Environ(), "DEMO=off", "ROLES=")
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start: %v", err)
	}
	p.wait = sync.OnceValue(p.cmd.Wait)
	t.Cleanup(func() { // For a test that failed before its own end of the process.
		_ = p.cmd.Process.Kill()
		_ = p.wait()
	})
	p.out.line(ctx, t, "ready after")
	text, _ := p.out.read()
	find := func(scheme, name string) string {
		found := regexp.MustCompile(name + `\s+` + scheme + `://(\S+)`).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("the first lines do not say where %s is:\n%s", name, text)
		}
		return found[1]
	}
	p.NATS, p.Gateway = find("nats", "NATS"), find("http", "gateway")
	p.Admin, p.Simulator = find("http", "admin"), find("http", "simulator")
	for name, role := range roles(ctx, p.Admin) {
		if name != "broker" {
			p.admin = append(p.admin, strings.TrimPrefix(role.Admin, "http://"))
		}
	}
	if len(p.admin) != len(Roles()) {
		t.Fatalf("found %d children, want %d", len(p.admin), len(Roles()))
	}
	return p
}

// gone waits until nobody holds any of the sockets. Supervisor and child both
// hold them, so both are gone then.
func (p *program) gone(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, address := range append(p.admin, p.NATS, p.Gateway, p.Admin, p.Simulator) {
		testbench.Until(t, address+" is free", func() bool {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				_ = conn.Close() // It was only a question.
			}
			return errors.Is(err, syscall.ECONNREFUSED)
		})
	}
}

func TestSignalEndsTheProgramInOrderWithExitCode0(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			ctx := testbench.Context(t)
			p := launch(ctx, t)
			if status := notify(ctx, t, p.Gateway); status != http.StatusOK {
				t.Fatalf("status %d, want 200", status)
			}
			p.out.line(ctx, t, "orders.picpay.default.102030.102030.paid")
			// To the whole group, as a terminal does.
			testbench.Must(t, syscall.Kill(-p.cmd.Process.Pid, signal))
			if err := p.wait(); err != nil {
				text, _ := p.out.read()
				t.Errorf("exit: %v\n%s", err, text)
			}
			p.gone(ctx, t)
			text, _ := p.out.read()
			for _, bad := range []string{"error:", "warn:", "starting it again"} {
				if strings.Contains(text, bad) {
					t.Errorf("an orderly stop shows %q:\n%s", bad, text)
				}
			}
		})
	}
}

func TestChildrenEndWhenTheSupervisorIsKilled(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	p := launch(ctx, t)
	testbench.Must(t, p.cmd.Process.Kill())
	if err := p.wait(); err == nil {
		t.Error("it ended cleanly, want killed")
	}
	p.gone(ctx, t)
}
