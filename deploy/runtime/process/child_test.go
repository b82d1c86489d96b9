package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
)

// childMode is the variable that makes the test binary a role's binary.
const childMode = "ARAUTO_TEST_CHILD"

// deafChild is the value of childMode for a role that never returns.
const deafChild = "deaf"

// child is the role of the child processes: it answers its process id.
func child(ctx context.Context, k *Kit) error {
	listener, err := Listen("http", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if os.Getenv(childMode) == deafChild {
		k.Log.Info("child begins")
		select {} // It hears no signal; only the second one, by default, ends it.
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strconv.Itoa(os.Getpid()))
	})}
	k.Ready("http", func(context.Context) error { return nil })
	k.Log.Info("child begins")
	return Together(ctx,
		Actor{"http", func(context.Context) error {
			if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		}},
		Actor{"stop", func(ctx context.Context) error {
			<-ctx.Done()
			return s.Close()
		}},
	)
}

// childProcess is a real process of this test binary.
type childProcess struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	logs  *testbench.Output
	ended chan struct{}
}

// spawn starts a child and waits until its role has begun.
func spawn(t *testing.T, config string, socket net.Listener, env ...string) *childProcess {
	t.Helper()
	self, err := os.Executable()
	testbench.Must(t, err)
	c := &childProcess{cmd: exec.Command(self), logs: &testbench.Output{}, ended: make(chan struct{})}
	c.cmd.Env = append(append(os.Environ(), childMode+"=1", "ARAUTO_CONFIG="+config), env...)
	c.cmd.Stdout, c.cmd.Stderr = c.logs, c.logs
	if socket != nil {
		file, err := socket.(*net.TCPListener).File()
		testbench.Must(t, err)
		defer file.Close()
		c.cmd.ExtraFiles = []*os.File{file}
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	testbench.Must(t, c.cmd.Start())
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait() // The test reads the state.
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // It may have ended long ago.
		<-c.ended
	})
	testbench.Until(t, "child begins", func() bool {
		select {
		case <-c.ended:
			t.Fatalf("the child ended: %v\n%s", c.cmd.ProcessState, c.logs)
		default:
		}
		return strings.Contains(c.logs.String(), "child begins")
	})
	return c
}

// code waits for the end and returns the exit code, -1 for a signal's.
func (c *childProcess) code(t *testing.T) int {
	t.Helper()
	testbench.Receive(t, "the child ends", c.ended)
	return c.cmd.ProcessState.ExitCode()
}

func TestSignalsStopTheProcessCleanly(t *testing.T) {
	t.Parallel()
	config := written(t, broker(t, nil).ClientURL(), "")
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			c := spawn(t, config, nil)
			testbench.Must(t, c.cmd.Process.Signal(sig))
			if code := c.code(t); code != ExitClean || !strings.Contains(c.logs.String(), `"msg":"process.stopped"`) {
				t.Errorf("the exit code is %d:\n%s", code, c.logs)
			}
			if strings.Contains(c.logs.String(), canary) {
				t.Errorf("the logs show the secret:\n%s", c.logs)
			}
		})
	}
}

func TestSecondSignalKillsAHungProcess(t *testing.T) {
	t.Parallel()
	c := spawn(t, written(t, broker(t, nil).ClientURL(), ""), nil, childMode+"="+deafChild)
	testbench.Until(t, "the child dies", func() bool {
		_ = c.cmd.Process.Signal(syscall.SIGTERM) // It may have died of the one before.
		select {
		case <-c.ended:
			return true
		default:
			return false
		}
	})
	if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v:\n%s", c.cmd.ProcessState, c.logs)
	}
}

func TestEndOfStdinStopsOnlyWhoWasToldSo(t *testing.T) {
	t.Parallel()
	config := written(t, broker(t, nil).ClientURL(), "")
	told := spawn(t, config, nil, "ARAUTO_STOP_ON_STDIN_EOF=1")
	other := spawn(t, config, nil)
	for _, c := range []*childProcess{told, other} {
		testbench.Must(t, c.stdin.Close())
	}
	if code := told.code(t); code != ExitClean || !strings.Contains(told.logs.String(), "the supervisor is gone") {
		t.Errorf("the exit code is %d:\n%s", code, told.logs)
	}
	select {
	case <-other.ended:
		t.Errorf("a process without a supervisor ended with its stdin:\n%s", other.logs)
	default:
	}
}

func TestRefusedConfigurationHasItsOwnExitCode(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	testbench.Must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childMode+"=1", "ARAUTO_CONFIG="+written(t, "", "nope: 1\n"))
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != ExitRefused || !strings.Contains(string(out), `there is no key "nope"`) {
		t.Errorf("the exit code is %d:\n%s", code, out)
	}
}

func TestInheritedSocketLosesNoConnectionOverARestart(t *testing.T) {
	t.Parallel()
	config := written(t, broker(t, nil).ClientURL(), "")
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	defer socket.Close()
	url, env := "http://"+socket.Addr().String(), []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=http"}

	first := spawn(t, config, socket, env...)
	if _, pid := get(t, url); pid != strconv.Itoa(first.cmd.Process.Pid) {
		t.Fatalf("the first child's socket is answered by %s", pid)
	}
	testbench.Must(t, first.cmd.Process.Kill())
	first.code(t)

	waiting, err := net.DialTimeout("tcp", socket.Addr().String(), longest)
	if err != nil {
		t.Fatalf("nobody listens between the children: %v", err)
	}
	defer waiting.Close()
	second := spawn(t, config, socket, env...)
	testbench.Must(t, waiting.SetDeadline(time.Now().Add(longest)))
	if _, err := fmt.Fprint(waiting, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(waiting)
	if err != nil || !strings.HasSuffix(string(answer), strconv.Itoa(second.cmd.Process.Pid)) {
		t.Errorf("the connection that waited got %q, %v", answer, err)
	}
}
