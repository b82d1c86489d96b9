//go:build powercut

package ledger_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"arauto/deploy/ledger"
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
	p := buildOn(t, length+4*patience+time.Minute, filepath.Join(power.at, "store"))
	d := newDriver(p)
	dice := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
	cuts := &trouble{p: p, dice: dice(0), done: map[string]int{}}
	driving, stop := context.WithTimeout(p.ctx, length)
	defer stop()
	var all sync.WaitGroup
	for i := range drivers {
		all.Go(func() { d.play(driving, "d"+strconv.Itoa(i), dice(uint64(1+i))) })
	}
	all.Go(func() { cuts.make(driving, func(ctx context.Context) string { return cuts.cutPower(ctx, power) }) })
	all.Wait()
	d.close()
	finish(t, p)
	s, err := ledger.Read(p.ctx, p.js)
	if err != nil {
		t.Fatal(err)
	}
	closeBooks(t, s, d)
	t.Logf("what went wrong meanwhile:\n%s%s%s", report(cuts), p.endings(), p.swept())
	if cuts.done[cutIt] == 0 {
		t.Error("the power was never cut, so this shows nothing")
	}
}

// What a cut came to. It is in vain when the broker was just syncing, which
// takes the whole journal with it.
const (
	cutIt     = "power cut"
	cutInVain = "power cut, nothing was lost"
)

// cutPower stops the broker, takes its disk's power, and starts it on what is
// left there. At times every role is on the same machine. A file that nobody
// synced shows that something was lost.
func (m *trouble) cutPower(ctx context.Context, power *disk) string {
	if !pause(ctx, m.upTo(300, 3000)) {
		return "none"
	}
	dead := []string{broker}
	if m.dice.IntN(2) == 0 {
		dead = append(dead, roles()...)
	}
	canary := filepath.Join(power.at, "canary-"+strconv.Itoa(m.done[cutIt]+m.done[cutInVain]))
	for _, name := range dead {
		m.p.freeze(name)
	}
	if err := errors.Join(os.WriteFile(canary, []byte("not synced"), 0o600), power.cut()); err != nil {
		m.p.t.Error(err)
	}
	for _, name := range dead {
		m.p.kill(name)
	}
	if err := power.restore(); err != nil {
		m.p.t.Error(err) // The broker starts empty, so that the test comes to its end.
	}
	for _, name := range dead {
		m.p.start(name)
	}
	if _, err := os.Stat(canary); !os.IsNotExist(err) {
		return cutInVain
	}
	return cutIt
}

// freeze stops a process where it is.
func (p *plant) freeze(name string) {
	p.mu.Lock()
	c := p.running[name]
	p.mu.Unlock()
	if err := syscall.Kill(c.pid(), syscall.SIGSTOP); err != nil {
		p.t.Errorf("freeze %s: %v", name, err)
	}
}
