package providerhttp_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/workers/internal/providerhttp"
	"arauto/workers/internal/verdict"
)

// tokenEndpoint is a provider that issues the tokens t1, t2 and so on, each valid for
// a minute, and answers look-ups with a token that it has not revoked.
type tokenEndpoint struct {
	logins, lookUps atomic.Int32
	revoked         atomic.Int32 // Tokens up to this number are refused.
	desk            http.HandlerFunc
}

func (o *tokenEndpoint) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.URL.Path == "/token" {
		n := o.logins.Add(1)
		if o.desk != nil {
			o.desk(w, q)
			return
		}
		says(http.StatusOK, grant("t"+strconv.Itoa(int(n)), 60))(w, q)
		return
	}
	o.lookUps.Add(1)
	n, err := strconv.Atoi(bearer(q)[1:])
	if err != nil || int32(n) <= o.revoked.Load() {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	says(http.StatusOK, `{"status":"paid"}`)(w, q)
}

func (o *tokenEndpoint) counts(t *testing.T, logins, lookUps int32) {
	t.Helper()
	if l, k := o.logins.Load(), o.lookUps.Load(); l != logins || k != lookUps {
		t.Errorf("%d logins and %d look-ups, want %d and %d", l, k, logins, lookUps)
	}
}

// open starts a token endpoint and returns a function that makes one look-up.
func open(t *testing.T, o *tokenEndpoint, now func() time.Time) func(context.Context) (order.Fact, error) {
	t.Helper()
	c, base := client(t, 10*time.Second, now), serve(t, o.ServeHTTP).URL
	return func(ctx context.Context) (order.Fact, error) {
		return c.Ask(ctx, withLogIn(), guardedAccount(base), target)
	}
}

func TestConcurrentLookUpsShareOneLogIn(t *testing.T) {
	t.Parallel()
	o := &tokenEndpoint{}
	lookUp := open(t, o, time.Now)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if fact, err := lookUp(t.Context()); err != nil || fact.Status != order.Paid {
				t.Errorf("%+v, %v", fact, err)
			}
		})
	}
	all.Wait()
	o.counts(t, 1, 100)
}

func TestEachAccountHasItsToken(t *testing.T) {
	t.Parallel()
	o := &tokenEndpoint{}
	c, base := client(t, 10*time.Second, time.Now), serve(t, o.ServeHTTP).URL
	for _, name := range []string{"default", "acme", "default", "acme"} {
		a := guardedAccount(base)
		a.Name = name
		if _, err := c.Ask(t.Context(), withLogIn(), a, target); err != nil {
			t.Fatal(err)
		}
	}
	o.counts(t, 2, 4)
}

func TestTokenIsReplacedBeforeItEnds(t *testing.T) {
	t.Parallel()
	o, c := &tokenEndpoint{}, testbench.NewClock(time.Unix(0, 0))
	lookUp := open(t, o, c.Now)
	for _, step := range []struct {
		wait   time.Duration
		logins int32
	}{{0, 1}, {29 * time.Second, 1}, {time.Second, 2}, {29 * time.Second, 2}, {31 * time.Second, 3}} {
		c.Advance(step.wait)
		if _, err := lookUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := o.logins.Load(); n != step.logins {
			t.Errorf("at %v there were %d logins, want %d", c.Now().Sub(time.Unix(0, 0)), n, step.logins)
		}
	}
}

func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	o := &tokenEndpoint{}
	lookUp := open(t, o, time.Now)
	if _, err := lookUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.revoked.Store(1)
	if fact, err := lookUp(t.Context()); err != nil || fact.Status != order.Paid {
		t.Errorf("after a revocation: %+v, %v", fact, err)
	}
	o.counts(t, 2, 3)
	o.revoked.Store(1000)
	if _, err := lookUp(t.Context()); !errors.Is(err, provider.ErrCredential) {
		t.Errorf("an account that is locked out gave %v", err)
	}
	o.counts(t, 3, 5)
}

func TestRevocationUnderLoadCausesOneLogIn(t *testing.T) {
	t.Parallel()
	o := &tokenEndpoint{}
	lookUp := open(t, o, time.Now)
	if _, err := lookUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.revoked.Store(1)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := lookUp(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := o.logins.Load(); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

func TestLogInFailureKeepsItsKind(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]record.Failure{
		401: record.Credential, 403: record.Credential, 400: record.Refused, 429: record.Throttled,
		404: record.Unavailable, 410: record.Unavailable, 500: record.Unavailable, 503: record.Unavailable, 302: record.Unreadable, 200: record.Unreadable,
	} {
		o := &tokenEndpoint{desk: says(status, "<html>")}
		lookUp := open(t, o, time.Now)
		for range 2 {
			if _, err := lookUp(t.Context()); verdict.FailureOf(err) != want {
				t.Errorf("status %d at the token endpoint gave %v", status, err)
			}
		}
		o.counts(t, 2, 0) // A failure is not cached, and without a token there is no look-up.
	}
}

// A refused look-up may be about the payment, a refused log-in is not.
func TestRefusedLogInIsAboutEveryPayment(t *testing.T) {
	t.Parallel()
	locked, closed := &tokenEndpoint{}, &tokenEndpoint{desk: says(http.StatusUnauthorized, "{}")}
	locked.revoked.Store(1000)
	for o, want := range map[*tokenEndpoint]bool{locked: false, closed: true} {
		_, err := open(t, o, time.Now)(t.Context())
		if !errors.Is(err, provider.ErrCredential) || errors.Is(err, provider.ErrRevoked) != want {
			t.Errorf("error is %v, about every payment: want %v", err, want)
		}
	}
}

func TestThrottledLogInKeepsRetryAfter(t *testing.T) {
	t.Parallel()
	o := &tokenEndpoint{desk: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "9")
		w.WriteHeader(http.StatusTooManyRequests)
	}}
	_, err := open(t, o, time.Now)(t.Context())
	var throttled *providerhttp.ThrottledError
	if !errors.As(err, &throttled) || throttled.After != 9*time.Second {
		t.Errorf("error is %v, %+v", err, throttled)
	}
}

func TestUnansweredLogInTimesOut(t *testing.T) {
	t.Parallel()
	o := &tokenEndpoint{desk: broken["silence"]}
	base := serve(t, o.ServeHTTP).URL
	_, err := client(t, 200*time.Millisecond, time.Now).Ask(t.Context(), withLogIn(), guardedAccount(base), target)
	if !errors.Is(err, verdict.ErrTransport) {
		t.Errorf("error is %v", err)
	}
}

func TestLogInOutlivesItsFirstCaller(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}, 10), make(chan struct{})
	o := &tokenEndpoint{desk: func(w http.ResponseWriter, q *http.Request) {
		asked <- struct{}{}
		select {
		case <-release:
			says(http.StatusOK, grant("t1", 60))(w, q)
		case <-q.Context().Done():
		}
	}}
	lookUp := open(t, o, time.Now)
	first, cancel := context.WithCancel(t.Context())
	gone, served := make(chan error, 1), make(chan error, 1)
	go func() { _, err := lookUp(first); gone <- err }()
	testbench.Receive(t, "asked", asked)
	go func() { _, err := lookUp(t.Context()); served <- err }()
	cancel()
	if err := testbench.Receive(t, "gone", gone); !errors.Is(err, context.Canceled) || errors.Is(err, verdict.ErrTransport) {
		t.Errorf("who left got %v", err)
	}
	close(release)
	if err := testbench.Receive(t, "served", served); err != nil {
		t.Errorf("who stayed got %v", err)
	}
	o.counts(t, 1, 1)
}

// A token that was got with the credential before is not used, nor is its log-in shared.
func TestReplacedCredentialLogsInAtOnce(t *testing.T) {
	t.Parallel()
	o := &tokenEndpoint{}
	c, base := client(t, 10*time.Second, time.Now), serve(t, o.ServeHTTP).URL
	for _, secret := range []string{"old", "old", "new", "new"} {
		a := guardedAccount(base)
		a.Settings["secret"] = secret
		if _, err := c.Ask(t.Context(), withLogIn(), a, target); err != nil {
			t.Fatal(err)
		}
	}
	o.counts(t, 2, 4)
}
