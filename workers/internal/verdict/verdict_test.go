package verdict_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/workers/internal/verdict"
)

// began is when the first failure of these tests happens.
var began = time.Date(2026, 11, 22, 1, 2, 3, 4000, time.UTC)

func named(t testing.TB, name string) provider.RetryPolicy {
	t.Helper()
	p, err := providers.All.RetryPolicy(name)
	testbench.Must(t, err)
	return p
}

// causeOfStatus lists the failures by HTTP status, independently of the code.
func causeOfStatus(status int) record.Failure {
	switch status {
	case 401, 403:
		return record.Credential
	case 404, 408, 410, 425:
		return record.Unavailable
	case 429:
		return record.Throttled
	}
	switch {
	case status < 400:
		return record.Unreadable
	case status < 500:
		return record.Refused
	}
	return record.Unavailable
}

func TestEveryHTTPStatusHasADecision(t *testing.T) {
	t.Parallel()
	p := named(t, "default")
	waits := map[record.Failure]time.Duration{
		record.Unavailable: 5 * time.Second, record.Unreadable: 5 * time.Second, record.Refused: 5 * time.Second,
		record.Throttled: 30 * time.Second, record.Credential: time.Minute,
	}
	for status := 100; status <= 599; status++ {
		err := provider.StatusError(status)
		if status == 200 {
			if err != nil {
				t.Errorf("status 200 is a failure: %v", err)
			}
			continue
		}
		cause := verdict.FailureOf(fmt.Errorf("ask sandbox: %w", err))
		if want := causeOfStatus(status); cause != want {
			t.Errorf("status %d is %q, want %q", status, cause, want)
		}
		d := verdict.Judge(verdict.Failure{Kind: cause, At: began}, verdict.Attempts{}, p, 0)
		if wait := d.Due.Sub(began); !d.Retry || wait != waits[cause] || d.Attempts != 0 {
			t.Errorf("a fresh status %d gives %+v", status, d)
		}
	}
}

func TestEveryErrorHasItsFailure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want record.Failure
	}{
		{verdict.ErrTransport, record.Transport},
		{fmt.Errorf("ask: %w: timed out", verdict.ErrTransport), record.Transport},
		{provider.ErrUnavailable, record.Unavailable},
		{provider.ErrUnreadable, record.Unreadable},
		{provider.ErrRefused, record.Refused},
		{provider.ErrThrottled, record.Throttled},
		{provider.ErrCredential, record.Credential},
		{provider.ErrNotFound, record.NotFound},
		{provider.ErrNoLookUp, record.Ours},
		{errors.New("an unclassified error"), record.Ours},
		{&verdict.DeferredError{Kind: record.RateLimited}, record.RateLimited},
		{&verdict.DeferredError{Kind: record.Stopped}, record.Stopped},
		{&verdict.DeferredError{Kind: record.Credential}, record.Credential},
	} {
		if got := verdict.FailureOf(fmt.Errorf("look up: %w", c.err)); got != c.want {
			t.Errorf("%v is %q, want %q", c.err, got, c.want)
		}
	}
}

// played is a payment whose look-ups fail in one way until its dead letter: the offsets
// at which it was scheduled, and the last decision. Every look-up is made at its due time.
func played(p provider.RetryPolicy, cause record.Failure, jitter float64) (offsets []time.Duration, end verdict.Decision) {
	counts, at := verdict.Attempts{}, began
	for range 100 {
		d := verdict.Judge(verdict.Failure{Kind: cause, At: at}, counts, p, jitter)
		if !d.Retry {
			return offsets, d
		}
		offsets = append(offsets, d.Due.Sub(began))
		at, counts = d.Due, verdict.Attempts{Fired: true, Attempts: d.Attempts, FirstFailure: d.FirstFailure, NotFound: d.NotFound}
	}
	return offsets, end
}

var (
	goldenTail    = []time.Duration{12 * time.Hour, 24 * time.Hour, 36 * time.Hour, 48 * time.Hour, 60 * time.Hour, 72 * time.Hour}
	goldenDefault = append([]time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour}, goldenTail...)
	goldenUnknown = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour}
)

func TestPoliciesEndAfterTheirLists(t *testing.T) {
	t.Parallel()
	spending := map[record.Failure]record.Class{
		record.Transport: record.ClassProvider, record.Unavailable: record.ClassProvider,
		record.Unreadable: record.ClassProvider, record.Refused: record.ClassProvider, record.Ours: record.ClassOurs,
	}
	for name, want := range map[string][]time.Duration{"default": goldenDefault, "yapay": goldenTail} {
		for cause, class := range spending {
			offsets, end := played(named(t, name), cause, 0)
			if !slices.Equal(offsets, want) {
				t.Errorf("%s parks %s at %v, want %v", name, cause, offsets, want)
			}
			if end.Class != class || end.Attempts != len(want) || !end.FirstFailure.Equal(began) {
				t.Errorf("%s ends %s with %+v, want class %s", name, cause, end, class)
			}
		}
		offsets, end := played(named(t, name), record.NotFound, 0)
		if !slices.Equal(offsets, goldenUnknown) || end.Class != record.ClassData {
			t.Errorf("%s parks an unknown payment at %v and ends with %+v", name, offsets, end)
		}
	}
}

func TestExpeditedLookUpOfUnknownPaymentIsNotCounted(t *testing.T) {
	t.Parallel()
	p := named(t, "default")
	for before, want := range map[int]int{1: 1, 3: 3} {
		d := verdict.Judge(verdict.Failure{Kind: record.NotFound, At: began}, verdict.Attempts{NotFound: before, Expedited: true}, p, 0)
		if !d.Retry || d.NotFound != want || d.Due.Sub(began) != p.NotFound[want-1] {
			t.Errorf("after %d: %+v", before, d)
		}
	}
}

func TestYapaysOffsetsHaveNoJitter(t *testing.T) {
	t.Parallel()
	offsets, _ := played(named(t, "yapay"), record.Unavailable, 1)
	if !slices.Equal(offsets, goldenTail) {
		t.Errorf("parks at %v, want %v", offsets, goldenTail)
	}
}

func TestUnknownPolicyIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := providers.All.RetryPolicy("Yapay"); err == nil {
		t.Error("a policy that does not exist was given out")
	}
}

func TestOwnOffsetsMustAscend(t *testing.T) {
	t.Parallel()
	p := named(t, "default")
	for _, bad := range [][]time.Duration{nil, {0}, {-time.Second, time.Second}, {time.Hour, time.Minute}} {
		if _, err := p.WithOffsets(bad); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
	mine := []time.Duration{time.Second, time.Minute}
	own, err := p.WithOffsets(mine)
	testbench.Must(t, err)
	mine[0] = time.Hour
	if offsets, _ := played(own, record.Transport, 1); !slices.Equal(offsets, []time.Duration{time.Second, time.Minute}) {
		t.Errorf("own offsets park at %v", offsets)
	}
	if offsets, _ := played(p, record.Transport, 0); !slices.Equal(offsets, goldenDefault) {
		t.Errorf("own offsets changed the policy they came from: %v", offsets)
	}
}

func TestOnlyAFiredLookUpSpends(t *testing.T) {
	t.Parallel()
	p := named(t, "default")
	for _, cause := range record.Failures() {
		fresh := verdict.Judge(verdict.Failure{Kind: cause, At: began}, verdict.Attempts{Attempts: 1, FirstFailure: began}, p, 0)
		if fresh.Attempts != 1 {
			t.Errorf("a fresh %s spent %d attempts", cause, fresh.Attempts-1)
		}
		fired := verdict.Judge(verdict.Failure{Kind: cause, At: began}, verdict.Attempts{Fired: true, Attempts: 1, FirstFailure: began}, p, 0)
		want := 2
		if free(cause) || cause == record.NotFound {
			want = 1
		}
		if fired.Attempts != want || !fired.Retry {
			t.Errorf("a fired %s gives %+v, want %d attempts", cause, fired, want)
		}
	}
}

// Throttled look-ups are due no earlier than Retry-After, and not all at once, or they
// would be throttled again.
func TestRetryAfterIsBounded(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"default", "yapay"} {
		for _, c := range []struct{ asked, want time.Duration }{
			{0, 30 * time.Second}, {time.Second, time.Second}, {7 * time.Minute, 7 * time.Minute}, {100 * time.Hour, time.Hour},
		} {
			for jitter, latest := range map[float64]time.Duration{0: c.want, 0.5: c.want + c.want/20, 1: c.want + c.want/10} {
				f := verdict.Failure{Kind: record.Throttled, RetryAfter: c.asked, At: began}
				d := verdict.Judge(f, verdict.Attempts{Fired: true, Attempts: 5}, named(t, policy), jitter)
				if got := d.Due.Sub(began); !d.Retry || d.Attempts != 5 || got < c.want || got != latest {
					t.Errorf("%s, Retry-After %v with jitter %v waits %v, want %v", policy, c.asked, jitter, got, latest)
				}
			}
		}
	}
	other := verdict.Failure{Kind: record.Unavailable, RetryAfter: time.Hour, At: began}
	if d := verdict.Judge(other, verdict.Attempts{}, named(t, "default"), 0); d.Due.Sub(began) != 5*time.Second {
		t.Errorf("a 5xx waits %v", d.Due.Sub(began))
	}
}

// The wait of a limit is real time, whatever the policy, its scale and the jitter.
func TestLimitsWaitExactlyAsLongAsTheySay(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"default", "yapay"} {
		for _, cause := range []record.Failure{record.RateLimited, record.Stopped, record.Credential} {
			for _, fired := range []bool{false, true} {
				f := verdict.Failure{Kind: cause, Deferred: 7 * time.Second, At: began.Add(time.Hour)}
				b := verdict.Attempts{Fired: fired, Attempts: 2, FirstFailure: began}
				d := verdict.Judge(f, b, named(t, name).Scaled(3600), 1)
				if !d.Retry || d.Due.Sub(f.At) != 7*time.Second || d.Attempts != 2 || !d.FirstFailure.Equal(began) {
					t.Errorf("%s, %s, fired %v: %+v, want a wait of 7 s and nothing spent", name, cause, fired, d)
				}
			}
		}
	}
}

func TestFirstFailureOfARecheckSpendsNothing(t *testing.T) {
	t.Parallel()
	d := verdict.Judge(verdict.Failure{Kind: record.Unavailable, At: began}, verdict.Attempts{Fired: true}, named(t, "yapay"), 0)
	if d.Attempts != 0 || d.Due.Sub(began) != 12*time.Hour {
		t.Errorf("a recheck that meets the first failure gives %+v, want 12 hours and nothing spent", d)
	}
}

func TestCredentialWaitStartsNoOffsets(t *testing.T) {
	t.Parallel()
	p := named(t, "default")
	at, counts := began, verdict.Attempts{}
	for range 80 * 60 { // A minute each: longer than the whole policy.
		d := verdict.Judge(verdict.Failure{Kind: record.Credential, At: at}, counts, p, 0)
		at, counts = d.Due, verdict.Attempts{Fired: true, Attempts: d.Attempts, FirstFailure: d.FirstFailure}
	}
	d := verdict.Judge(verdict.Failure{Kind: record.Unavailable, At: at}, counts, p, 0)
	if !d.Retry || !d.FirstFailure.Equal(at) || !d.Due.After(at) {
		t.Errorf("the first failure that spends, after days of free ones at %v, gives %+v", at, d)
	}
}

func TestFinalFailureIsDeadLetteredAtOnce(t *testing.T) {
	t.Parallel()
	for _, counts := range []verdict.Attempts{{}, {Fired: true, Attempts: 2, FirstFailure: began}} {
		d := verdict.Judge(verdict.Failure{Kind: record.Refused, At: began, Final: true}, counts, named(t, "default"), 0)
		if d.Retry || d.Class != record.ClassData || d.Attempts != counts.Attempts {
			t.Errorf("after %+v: %+v", counts, d)
		}
	}
}
