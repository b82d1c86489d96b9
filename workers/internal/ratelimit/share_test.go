package ratelimit

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
)

// late is a broker whose answer takes some time.
type late struct {
	reliable
	takes time.Duration
}

func (l *late) store(ctx context.Context, name string, of lease) error {
	err := l.reliable.store(ctx, name, of)
	l.clock.Advance(l.takes)
	return err
}

// Once a lease has ended the others may share the limits without its worker, whatever is
// confirmed afterwards. The worker joins under another name.
func TestLeaseThatEndedIsNotExtendedByALateConfirmation(t *testing.T) {
	t.Parallel()
	clock := testbench.NewClock(time.Now())
	broker := &late{reliable: reliable{log: new([]storedLease), clock: clock}}
	f := newFleet(broker, []string{"sandbox"}, zap.NewNop(), clock.Now)
	l := f.Limiter("sandbox", Limit{Rate: 100, Burst: 100, Concurrency: 1})
	testbench.Must(t, f.renew(t.Context()))
	before := f.members.name
	if !l.Ready() {
		t.Fatal("a worker alone has no share")
	}
	clock.Advance(leaseTerm - 100*time.Millisecond)
	broker.takes = 200 * time.Millisecond
	testbench.Must(t, f.renew(t.Context()))
	if l.Ready() {
		t.Error("the lease ended before its renewal was confirmed, and holds again")
	}
	broker.takes = 0
	testbench.Must(t, f.renew(t.Context()))
	if !l.Ready() || f.members.name == before {
		t.Errorf("it joined again as %s, before %s; ready: %v", f.members.name, before, l.Ready())
	}
}

// The tokens of the time before a change are those of the share before it.
func TestTokensOfTheTimeBeforeAChangeAreThoseOfTheShareBefore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after float64
		want          int // Look-ups that begin at once after the change, of 100 a second in all.
	}{
		"a larger share":  {0.25, 1, 25},
		"a smaller share": {1, 0.25, 100},
		"the same share":  {0.5, 0.5, 50},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := testbench.NewClock(time.Now())
			l := New(Limit{Rate: 100, Burst: 400, Concurrency: 1000}, clock.Now)
			until := clock.Now().Add(time.Hour)
			begin := func() (n int) {
				for l.affords(0, clock.Now()) {
					l.begin(Known, clock.Now())
					n++
				}
				return n
			}
			l.divide(c.before, until, false)
			begin()
			clock.Advance(time.Second)
			l.divide(c.after, until, false)
			l.refill()
			if got := begin(); got < c.want-1 || got > c.want+1 {
				t.Errorf("%d look-ups begin, want %d", got, c.want)
			}
		})
	}
}
