package supervise

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
)

// script makes a stand-in for a binary that no real one can be made to be.
func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	testbench.Must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700))
	return path
}

func newChild(t *testing.T, path string, out *output) *child {
	t.Helper()
	s := &screen{to: out}
	return &child{
		role: "stand-in", path: path, env: []string{"LISTEN_FDS=7", "LISTEN_PID=1", "KEPT=yes"}, output: out, note: s.note, abort: t.Context(),
	}
}

func TestChildThatIgnoresItsStopIsKilledWhenAborted(t *testing.T) {
	t.Parallel()
	out := newOutput()
	c := newChild(t, script(t, t.TempDir(), "deaf", "trap '' TERM\necho up\nread -r never"), out)
	abort, kill := context.WithCancel(t.Context())
	c.abort = abort
	done := make(chan error, 1)
	c.start()
	out.line(testbench.Context(t), t, "up")
	go func() { done <- c.stop() }()
	kill()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("got %v, want an error that says that it was killed", err)
		}
	case <-time.After(stopLimit / 2):
		t.Fatal("it was not killed at once")
	}
	if pid := c.pid.Load(); pid != 0 {
		t.Errorf("process %d is still known", pid)
	}
}

func TestChildGetsItsOwnSocketsAndNobodyElses(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	out := newOutput()
	c := newChild(t, script(t, t.TempDir(), "curious", `echo "$LISTEN_FDS/$LISTEN_FDNAMES/${LISTEN_PID-unset}/$KEPT/$ARAUTO_STOP_ON_STDIN_EOF"; read -r never`), out)
	for _, name := range []string{"first", "second"} {
		if _, err := c.openSocket(ctx, name, "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	c.start()
	out.line(ctx, t, "2/first:second/unset/yes/1")
	_ = c.stop() // A shell that ends by SIGTERM has no status 0.
}

func TestChildThatKeepsEndingIsRestartedAtABoundedRate(t *testing.T) {
	t.Parallel()
	out := newOutput()
	c := newChild(t, script(t, t.TempDir(), "brief", "exit 7"), out)
	began := time.Now()
	c.start()
	out.line(testbench.Context(t), t, "stand-in ended (exit status 7); starting it again")
	testbench.Until(t, "restarts beyond those at once", func() bool { return c.restarts.Load() > restartsAtOnce })
	if after, allowed := time.Since(began), restartPause; after < allowed {
		t.Errorf("%d restarts within %v, want a pause of %v before the last", c.restarts.Load(), after, allowed)
	}
	_ = c.stop() // It may have ended with status 7 meanwhile.
}

func TestChildThatCannotBeStartedIsTriedAgain(t *testing.T) {
	t.Parallel()
	out := newOutput()
	dir := t.TempDir()
	c := newChild(t, filepath.Join(dir, "late"), out)
	c.start()
	out.line(testbench.Context(t), t, "stand-in ended (start stand-in")
	script(t, dir, "late.new", "echo here; read -r never")
	testbench.Must(t, os.Rename(filepath.Join(dir, "late.new"), filepath.Join(dir, "late")))
	out.line(testbench.Context(t), t, "here")
	_ = c.stop() // A shell that ends by SIGTERM has no status 0.
}
