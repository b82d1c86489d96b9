package verdict_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/workers/internal/verdict"
)

// spend fails a payment's look-ups at their due times, each spending an attempt, and
// returns the due times as offsets from the first failure.
func spend(p provider.RetryPolicy, jitter float64) (dues []time.Duration, last verdict.Decision) {
	counts, at := verdict.Attempts{}, began
	for {
		d := verdict.Judge(verdict.Failure{Kind: record.Unavailable, At: at}, counts, p, jitter)
		if !d.Retry {
			return dues, d
		}
		dues = append(dues, d.Due.Sub(began))
		at, counts = d.Due, verdict.Attempts{Fired: true, Attempts: d.Attempts, FirstFailure: d.FirstFailure}
	}
}

// Three days pass in 72 seconds, and each due time is the policy's own.
func TestScaleDividesEveryDueTime(t *testing.T) {
	t.Parallel()
	tail := []time.Duration{12 * time.Second, 24 * time.Second, 36 * time.Second, 48 * time.Second, 60 * time.Second, 72 * time.Second}
	head := []time.Duration{1388888, 8333333, 33333333, 166666666, time.Second} // Nanoseconds: 5 s, 30 s, 2 min, 10 min and 1 h by 3600.
	for name, want := range map[string][]time.Duration{"yapay": tail, "default": append(head, tail...)} {
		dues, last := spend(named(t, name).Scaled(3600), 0)
		if len(dues) != len(want) || last.Class != "provider" || last.Attempts != len(want) {
			t.Errorf("%s: parked %d times and ended as %+v, want %d times and a dead letter of class provider", name, len(dues), last, len(want))
			continue
		}
		for i := range want {
			if dues[i] != want[i] {
				t.Errorf("%s: retry %d is due after %v, want %v", name, i+1, dues[i], want[i])
			}
		}
	}
}

func TestScaleDividesTheFreeWaits(t *testing.T) {
	t.Parallel()
	p := named(t, "yapay").Scaled(1000)
	for _, c := range []struct {
		failure verdict.Failure
		want    time.Duration
	}{
		{verdict.Failure{Kind: record.Throttled}, 30 * time.Millisecond},
		{verdict.Failure{Kind: record.Throttled, RetryAfter: 90 * time.Second}, 90 * time.Millisecond},
		{verdict.Failure{Kind: record.Throttled, RetryAfter: 48 * time.Hour}, 3600 * time.Millisecond},
		{verdict.Failure{Kind: record.Credential}, 60 * time.Millisecond},
		{verdict.Failure{Kind: record.NotFound}, 5 * time.Millisecond},
	} {
		c.failure.At = began
		if d := verdict.Judge(c.failure, verdict.Attempts{}, p, 0); !d.Retry || d.Due.Sub(began) != c.want {
			t.Errorf("%s, Retry-After %v: %+v, want due after %v", c.failure.Kind, c.failure.RetryAfter, d, c.want)
		}
	}
}

// A scaled policy has as many retries, each due at its offset divided by the scale, none
// of them early.
func TestScaleChangesOnlyTheSpeed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := drawnPolicy(t, rt)
		scale := rapid.IntRange(1, 1_000_000).Draw(rt, "scale")
		jitter := rapid.Float64Range(0, 1).Draw(rt, "jitter")
		plain, _ := spend(p, jitter)
		turned, _ := spend(p.Scaled(scale), jitter)
		if len(plain) != len(turned) {
			rt.Fatalf("%d retries became %d", len(plain), len(turned))
		}
		for i := range plain {
			if want := plain[i] / time.Duration(scale); turned[i] != want {
				rt.Fatalf("retry %d is due after %v, want %v", i+1, turned[i], want)
			}
		}
	})
}
