package reconcile_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// trouble makes everything go wrong that a deployment can meet, one thing at
// a time and one kind beside the other, and counts what it did.
type trouble struct {
	p       *plant
	dice    *rand.Rand
	done    map[string]int
	limit   int64    // Of NOTIFICATIONS, in bytes.
	victims []string // The providers that it makes fail.
}

// make goes on until ctx ends. Each trouble ends before the next one begins.
func (m *trouble) make(ctx context.Context, kinds ...func(context.Context) string) {
	for pause(ctx, m.upTo(50, 400)) {
		m.done[kinds[m.dice.IntN(len(kinds))](ctx)]++
	}
}

// upTo is a random time between two numbers of milliseconds.
func (m *trouble) upTo(low, high int) time.Duration {
	return time.Duration(low+m.dice.IntN(high-low)) * time.Millisecond
}

// killRole kills one of the roles; it is back a little later.
func (m *trouble) killRole(ctx context.Context) string {
	role := roles()[m.dice.IntN(len(roles()))]
	if role == "sweep" {
		if !m.p.sweeping.TryLock() {
			return "none"
		}
		defer m.p.sweeping.Unlock()
	}
	m.p.kill(role)
	pause(ctx, m.upTo(0, 500))
	m.p.start(role)
	return "SIGKILL " + role
}

// killBroker kills the broker, and gives it a while to be of use in between.
// What it had staged is lost at times: it may lie in memory.
func (m *trouble) killBroker(ctx context.Context) string {
	if !pause(ctx, m.upTo(1000, 4000)) {
		return "none"
	}
	m.p.settled.Lock()
	m.p.kill(broker)
	m.p.settled.Unlock()
	what := "SIGKILL " + broker
	if m.dice.IntN(2) == 0 && m.p.loseStage() {
		what += ", a batch that it staged is lost"
	}
	pause(ctx, m.upTo(0, 800))
	m.p.start(broker)
	return what
}

// disturb cuts, slows or resets the wire between a role and the broker.
func (m *trouble) disturb(ctx context.Context) string {
	role := roles()[m.dice.IntN(len(roles()))]
	w := m.p.wires[role]
	switch m.dice.IntN(3) {
	case 0:
		w.sever()
		pause(ctx, m.upTo(100, 1500))
		w.mend()
		return "cut " + role
	case 1:
		w.slow(m.upTo(20, 300))
		pause(ctx, m.upTo(300, 1500))
		w.mend()
		return "slow " + role
	}
	w.Reset()
	return "reset " + role
}

// fill makes the quota of NOTIFICATIONS what it holds already, for a while,
// and then lets sweep free it. It too leaves the system its time to work.
//
// What sweep removes must have been copied before, so sweep is dead until
// everything is, and nothing is sent until the quota is raised: what a round of
// sweep may remove was stored before the round began.
func (m *trouble) fill(ctx context.Context) string {
	if !pause(ctx, m.upTo(1500, 5000)) {
		return "none"
	}
	m.p.sweeping.Lock()
	defer m.p.sweeping.Unlock()
	m.p.kill("sweep")
	if !m.quota(ctx, func(held int64) int64 { return held + 1 }) {
		m.empty() // It may be full although the broker did not say so.
		m.p.start("sweep")
		return "none"
	}
	pause(ctx, m.upTo(300, 1200))
	m.p.traffic.Lock()
	defer m.p.traffic.Unlock()
	if !m.copied() {
		m.empty()
		m.p.start("sweep")
		return "quota hit"
	}
	m.p.start("sweep")
	freed := m.freed()
	m.empty()
	if !freed {
		return "quota hit"
	}
	return "quota hit, freed by sweep"
}

// copied waits a while for the witness. What the gateway gave up on may still
// be on a slow wire, so it waits for that first.
func (m *trouble) copied() bool {
	ctx, cancel := context.WithTimeout(m.p.ctx, 5*time.Second)
	defer cancel()
	return pause(ctx, 500*time.Millisecond) && m.p.witness.upToDate(ctx)
}

// freed waits a while for sweep to have removed something.
func (m *trouble) freed() bool {
	ctx, cancel := context.WithTimeout(m.p.ctx, 3*time.Second)
	defer cancel()
	for pause(ctx, 50*time.Millisecond) {
		asking, done := context.WithTimeout(ctx, time.Second)
		stream, err := m.p.js.Stream(asking, subject.Notifications)
		done()
		if err != nil {
			continue
		}
		held, full := int64(stream.CachedInfo().State.Bytes), stream.CachedInfo().Config.MaxBytes //nolint:gosec // A test's stream is small.
		if held < full/10*9 {
			return true
		}
	}
	return false
}

// empty gives the room back. It must succeed, or nothing is accepted again.
func (m *trouble) empty() {
	if !m.p.poll(func() bool { return m.quota(m.p.ctx, func(int64) int64 { return m.limit }) }) {
		m.p.t.Error("the quota could not be raised again")
	}
}

// quota changes the bound of NOTIFICATIONS and reports whether it did.
func (m *trouble) quota(ctx context.Context, bound func(held int64) int64) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	stream, err := m.p.js.Stream(ctx, subject.Notifications)
	if err != nil {
		return false
	}
	info := stream.CachedInfo()
	if m.limit == 0 {
		m.limit = info.Config.MaxBytes
	}
	info.Config.MaxBytes = bound(int64(info.State.Bytes)) //nolint:gosec // A test's stream is small.
	m.p.settled.Lock()
	defer m.p.settled.Unlock()
	_, err = m.p.js.UpdateStream(ctx, info.Config)
	return err == nil
}

// victims are the providers that can be asked: those that fail for a while, and those with a
// retry policy of their own, which fail for as long as that waits.
func victims() (failing, down []string) {
	for _, p := range providers.All {
		switch {
		case len(p.RetryOffsets) > 0:
			down = append(down, p.Name)
		case p.Ask != nil && p.Payload == nil:
			failing = append(failing, p.Name)
		}
	}
	return failing, down
}

// fault makes a provider answer wrongly for a while, for one account or both.
func (m *trouble) fault(ctx context.Context) string {
	provider := m.victims[m.dice.IntN(len(m.victims))]
	kind := []string{"500", "429", "401", "403", "404", "garbage", "stale", "slow", "reset"}[m.dice.IntN(9)]
	account := append(accounts(), "")[m.dice.IntN(3)]
	m.setFault(provider, account, kind)
	pause(ctx, m.upTo(200, 2500))
	m.setFault(provider, "", "none")
	return "provider " + kind
}

// outage is a provider that is down for longer than its policy waits.
func (m *trouble) outage(ctx context.Context) string {
	m.setFault(m.victims[0], "", "500")
	pause(ctx, 120*time.Hour/turned)
	m.setFault(m.victims[0], "", "none")
	return "three turned days of 500"
}

func (m *trouble) setFault(provider, account, kind string) {
	body := fmt.Sprintf(`{"kind":%q,"account":%q,"retry_after":0.3}`, kind, account)
	if status, answer := m.p.call(http.MethodPut, "http://"+m.p.sim.Addr().String()+"/_sim/"+provider+"/fault", "", body); status != http.StatusOK && m.p.ctx.Err() == nil {
		m.p.t.Errorf("set fault: %d %s", status, answer)
	}
}

// report lists what was done, most often first.
func report(all ...*trouble) string {
	sums := map[string]int{}
	for _, m := range all {
		for what, n := range m.done {
			sums[what] += n
		}
	}
	delete(sums, "none")
	var lines []string
	for what, n := range sums {
		lines = append(lines, fmt.Sprintf("%6d  %s\n", n, what))
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	return strings.Join(lines, "")
}
