package retention_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
)

// A gateway may store webhooks of a provider before its consumer is made. They stay whatever
// their age, also while the stream is full, and the consumer gets them all.
func TestNotificationsWaitForAConsumerThatIsMissing(t *testing.T) {
	t.Parallel()
	b := testbench.StartEmpty(t)
	ctx := testbench.Context(t)
	apply := func(names ...string) {
		_, err := topology.Apply(ctx, b.JS, topology.Settings{Replicas: 1, Store: 1 << 20, Providers: names})
		testbench.Must(t, err)
	}
	apply("sandbox")
	both := []string{"sandbox", "yapay"}
	store(ctx, t, b.JS, "sandbox", 1)
	acknowledge(ctx, t, b.JS, "sandbox", 1, 0)
	testbench.Must(t, notifications(ctx, t, b.JS, 73*time.Hour, both...).Round(ctx))
	if got := stored(ctx, t, b.JS, "sandbox"); len(got) > 0 {
		t.Errorf("%v are left, but no other provider has notifications", got)
	}
	store(ctx, t, b.JS, "sandbox", 1)
	first := store(ctx, t, b.JS, "yapay", 1)
	last := store(ctx, t, b.JS, "sandbox", 1)
	acknowledge(ctx, t, b.JS, "sandbox", 2, 0, 1)
	said := fmt.Sprintf("they wait from %d on, because consumer lookup-yapay is missing: run arauto topology apply", first)
	left := func(ahead time.Duration, sandbox ...uint64) {
		t.Helper()
		if err := notifications(ctx, t, b.JS, ahead, both...).Round(ctx); err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("the round says %v", err)
		}
		if one, other := stored(ctx, t, b.JS, "sandbox"), stored(ctx, t, b.JS, "yapay"); !slices.Equal(one, sandbox) || !slices.Equal(other, []uint64{first}) {
			t.Errorf("%v and %v are left, want %v and %d", one, other, sandbox, first)
		}
	}
	left(10000*time.Hour, last)
	for range 7 {
		store(ctx, t, b.JS, "sandbox", 30<<10)
	}
	acknowledge(ctx, t, b.JS, "sandbox", 7, 0, 1, 2, 3, 4, 5, 6)
	left(0)
	apply(both...)
	acknowledge(ctx, t, b.JS, "yapay", 1, 0)
	testbench.Must(t, notifications(ctx, t, b.JS, 73*time.Hour, both...).Round(ctx))
	if got := stored(ctx, t, b.JS, "yapay"); len(got) > 0 {
		t.Errorf("%v are left after the consumer has acknowledged them", got)
	}
}
