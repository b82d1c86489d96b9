package supervise

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// script makes a stand-in for a binary that no real one can be made to be.
func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func newChild(path string, out *output) *child {
	s := &screen{to: out}
	return &child{
		plan:     plan{role: "stand-in", path: path, env: []string{"LISTEN_FDS=7", "LISTEN_PID=1", "KEPT=yes"}, output: out},
		restarts: prometheus.NewCounter(prometheus.CounterOpts{Name: "restarts"}),
		say:      s.note,
	}
}

func TestChildThatIgnoresItsStopIsKilledWhenAborted(t *testing.T) {
	t.Parallel()
	out := newOutput()
	c := newChild(script(t, t.TempDir(), "deaf", "trap '' TERM\necho up\nread -r never"), out)
	abort, done := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(bounded(t))
	go func() { done <- c.keep(ctx, abort) }()
	out.line(bounded(t), t, "up")
	cancel()
	close(abort)
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("got %v, want an error that says that it was killed", err)
		}
	case <-time.After(stopLimit / 2):
		t.Fatal("it was not killed at once")
	}
	if pid, _ := c.state(); pid != 0 {
		t.Errorf("process %d is still known", pid)
	}
}

func TestChildGetsItsOwnSocketsAndNobodyElses(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	out := newOutput()
	c := newChild(script(t, t.TempDir(), "curious", `echo "$LISTEN_FDS/$LISTEN_FDNAMES/${LISTEN_PID-unset}/$KEPT/$ARAUTO_STOP_ON_STDIN_EOF"; read -r never`), out)
	for _, name := range []string{"first", "second"} {
		one, err := openSocket(ctx, name, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = one.close() }) // Nothing was accepted.
		c.sockets = append(c.sockets, one)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- c.keep(ctx, nil) }()
	out.line(bounded(t), t, "2/first:second/unset/yes/1")
	cancel()
	<-done
}

func TestChildThatEndsAtOnceIsStartedAgainEverMoreSlowly(t *testing.T) {
	t.Parallel()
	wait := time.Duration(0)
	var waits []time.Duration
	for range 7 {
		waits = append(waits, wait)
		wait = longer(wait)
	}
	want := []time.Duration{0, 100, 200, 400, 800, 1600, 2000}
	for i := range want {
		if waits[i] != want[i]*time.Millisecond {
			t.Errorf("pause %d is %v, want %v", i, waits[i], want[i]*time.Millisecond)
		}
	}

	out := newOutput()
	c := newChild(script(t, t.TempDir(), "brief", "exit 7"), out)
	ctx, cancel := context.WithCancel(bounded(t))
	done := make(chan error, 1)
	go func() { done <- c.keep(ctx, nil) }()
	out.line(bounded(t), t, "stand-in ended (exit status 7); starting it again")
	eventually(ctx, t, "it was started again twice", func() bool {
		_, restarts := c.state()
		return restarts >= 2
	})
	cancel()
	<-done
}

func TestChildThatCannotBeStartedIsTriedAgain(t *testing.T) {
	t.Parallel()
	out := newOutput()
	dir := t.TempDir()
	c := newChild(filepath.Join(dir, "late"), out)
	ctx, cancel := context.WithCancel(bounded(t))
	done := make(chan error, 1)
	go func() { done <- c.keep(ctx, nil) }()
	out.line(bounded(t), t, "stand-in ended (start stand-in")
	script(t, dir, "late.new", "echo here; read -r never")
	if err := os.Rename(filepath.Join(dir, "late.new"), filepath.Join(dir, "late")); err != nil {
		t.Fatal(err)
	}
	out.line(bounded(t), t, "here")
	cancel()
	<-done
}
