//go:build powercut

package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestEvery200OutlivesAPowerCut takes the power from the broker's disk again
// and again while payments are notified and looked up: what was not synced is
// gone. Every 200 must still end as exactly one thing, and nothing may stop for
// what the cut took.
//
// It needs root, so make powercut runs it, and make test does not. FOR and SEED
// are those of the long test.
func TestEvery200OutlivesAPowerCut(t *testing.T) {
	t.Parallel()
	power := newDisk(t)
	length, seed := fromEnvironment(t)
	t.Logf("SEED=%d", seed)
	p := buildOn(t, 3*length+4*longest+time.Minute, filepath.Join(power.at, "store"))
	cuts := balance(t, p, length, seed, func(driving context.Context, m *trouble) {
		m.make(driving, func(ctx context.Context) string { return m.cutPower(ctx, power) })
	})
	delete(cuts.done, "none")
	if len(cuts.done) == 0 {
		t.Error("the power was never cut, so this shows nothing")
	}
}

// cutPower stops the broker, takes its disk's power, and starts it on what is
// left there. At times every role is on the same machine, and at times the
// disk fails a while before the power does. A file that nobody synced shows that
// something was lost.
func (m *trouble) cutPower(ctx context.Context, power *disk) string {
	if !pause(ctx, m.upTo(300, 3000)) {
		return "none"
	}
	what, dead := "power cut", []string{broker}
	if m.dice.IntN(2) == 0 {
		what, dead = "power cut of everything", append(dead, roles()...)
	}
	for _, name := range dead {
		m.p.freeze(name)
	}
	canary := filepath.Join(power.at, fmt.Sprintf("canary-%d", time.Now().UnixNano()))
	if err := errors.Join(os.WriteFile(canary, []byte("not synced"), 0o600), power.cut()); err != nil {
		m.p.t.Error(err)
	}
	if m.dice.IntN(2) == 0 {
		what += ", the disk failed before"
		for _, name := range dead {
			m.p.thaw(name)
		}
		pause(m.p.ctx, m.upTo(100, 1500))
	}
	for _, name := range dead {
		m.p.kill(name)
	}
	if err := power.restore(); err != nil {
		m.p.t.Error(err) // The broker starts empty, so that the test comes to its end.
	}
	if _, err := os.Stat(canary); !os.IsNotExist(err) {
		m.p.t.Errorf("what was not synced outlived the cut, so it was none: %v", err)
	}
	for _, name := range dead {
		m.p.start(name)
	}
	return what
}

// freeze stops a process where it is, and waits until the kernel has done what
// each of its threads had asked for: of a sync that is under way when a file
// system is shut down, ext4 says at times that it went well, and it did not.
func (p *plant) freeze(name string) {
	pid := p.signal(name, syscall.SIGSTOP)
	if !p.poll(func() bool { return stopped(pid) }) {
		p.t.Errorf("%s does not freeze", name)
	}
}

// stopped reports whether every thread of a process is.
func stopped(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		stat, unread := os.ReadFile(thread)
		_, state, _ := strings.Cut(string(stat), ") ")
		if err = errors.Join(err, unread); !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return err == nil && len(threads) > 0
}

// thaw lets a process go on that was frozen.
func (p *plant) thaw(name string) { p.signal(name, syscall.SIGCONT) }
