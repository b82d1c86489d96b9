package verdict_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/workers/internal/verdict"
)

// drawnPolicy is one of the named policies, or one with configured delays.
func drawnPolicy(tb testing.TB, t *rapid.T) provider.RetryPolicy {
	p := named(tb, rapid.SampledFrom([]string{"default", "yapay"}).Draw(t, "policy"))
	if !rapid.Bool().Draw(t, "own") {
		return p
	}
	raw := rapid.SliceOfN(rapid.Int64Range(1, int64(200*time.Hour)), 1, 12).Draw(t, "offsets")
	slices.Sort(raw)
	offsets := make([]time.Duration, len(raw))
	for i, n := range raw {
		offsets[i] = time.Duration(n)
	}
	own, err := p.WithOffsets(offsets)
	testbench.Must(t, err)
	return own
}

// free lists the failures that spend no attempt, independently of the code.
func free(c record.Failure) bool {
	return c == record.Throttled || c == record.Credential || c == record.RateLimited || c == record.Stopped
}

// For any failures of one payment, due late or fresh: attempts never decrease; the
// first, the fresh and the free failures spend none; no due time is in the past; and
// the retries end.
func TestAttemptsOfAnyFailures(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := drawnPolicy(t, rt)
		counts, at, spent := verdict.Attempts{}, began, 0
		for range rapid.IntRange(1, 60).Draw(rt, "failures") {
			counts.Fired = rapid.Bool().Draw(rt, "fired")
			f := verdict.Failure{
				Kind: rapid.SampledFrom(record.Failures()).Draw(rt, "cause"), At: at,
				RetryAfter: time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(rt, "retry after")),
			}
			d := verdict.Judge(f, counts, p, rapid.Float64Range(0, 1).Draw(rt, "jitter"))
			if counts.Fired && !free(f.Kind) && f.Kind != record.NotFound && !counts.FirstFailure.IsZero() {
				spent++
			}
			if d.Attempts != spent {
				rt.Fatalf("%d attempts are spent, want %d: %+v", d.Attempts, spent, d)
			}
			if !counts.FirstFailure.IsZero() && !d.FirstFailure.Equal(counts.FirstFailure) {
				rt.Fatalf("the first failure moved from %v to %v", counts.FirstFailure, d.FirstFailure)
			}
			if !d.Retry {
				if d.Class == "" || free(f.Kind) {
					rt.Fatalf("%s was given up with class %q", f.Kind, d.Class)
				}
				return
			}
			if d.Due.Before(at) {
				rt.Fatalf("due %v before now", at.Sub(d.Due))
			}
			if spent >= len(p.Offsets) || d.NotFound > len(p.NotFound) {
				rt.Fatalf("parked again after %d attempts", spent)
			}
			late := time.Duration(rapid.Int64Range(0, int64(30*time.Hour)).Draw(rt, "late"))
			at, counts = d.Due.Add(late), verdict.Attempts{Attempts: d.Attempts, FirstFailure: d.FirstFailure, NotFound: d.NotFound}
		}
	})
}

// A payment whose failures all spend an attempt is scheduled as often as its policy has
// offsets, however late each look-up is.
func TestRetriesAreBoundedByThePolicy(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := drawnPolicy(t, rt)
		counts, at, parks := verdict.Attempts{}, began, 0
		for ; parks <= len(p.Offsets); parks++ {
			cause := rapid.SampledFrom([]record.Failure{
				record.Transport, record.Unavailable, record.Unreadable, record.Refused, record.Ours,
			}).Draw(rt, "cause")
			d := verdict.Judge(verdict.Failure{Kind: cause, At: at}, counts, p, 0)
			if !d.Retry {
				break
			}
			late := time.Duration(rapid.Int64Range(0, int64(30*time.Hour)).Draw(rt, "late"))
			at, counts = d.Due.Add(late), verdict.Attempts{Fired: true, Attempts: d.Attempts, FirstFailure: d.FirstFailure}
		}
		if parks != len(p.Offsets) {
			rt.Fatalf("parked %d times by %d offsets", parks, len(p.Offsets))
		}
	})
}

func TestJitterOnlyAddsItsShare(t *testing.T) {
	t.Parallel()
	p := named(t, "default")
	rapid.Check(t, func(rt *rapid.T) {
		attempts := rapid.IntRange(0, len(p.Offsets)-1).Draw(rt, "attempts")
		jitter := rapid.Float64Range(0, 1).Draw(rt, "jitter")
		counts := verdict.Attempts{Attempts: attempts, FirstFailure: began}
		d := verdict.Judge(verdict.Failure{Kind: record.Transport, At: began}, counts, p, jitter)
		base, got := p.Offsets[attempts], d.Due.Sub(began)
		if got < base || got > base+base/10 {
			rt.Fatalf("offset %v became %v", base, got)
		}
		if want := base + time.Duration(jitter*0.1*float64(base)); got != want {
			rt.Fatalf("jitter %v made %v of %v, want %v", jitter, got, base, want)
		}
	})
}
