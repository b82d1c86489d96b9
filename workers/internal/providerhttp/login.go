package providerhttp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"arauto/schemas/provider"
)

// tokenMargin is how long before its end a token is replaced. PicPay's tokens last five
// minutes, and public clients refresh them 30 s early too.
const tokenMargin = 30 * time.Second

// logins caches bearer tokens per provider and account. Concurrent look-ups that need a
// token share one log-in.
type logins struct {
	now   func() time.Time
	calls singleflight.Group

	mu       sync.Mutex
	tokens   map[string]cachedToken
	renewals map[string]renewal // The last log-in after a 403, by account.
}

type cachedToken struct {
	value string
	until time.Time
}

// renewal is the last log-in that a 403 led to.
type renewal struct {
	of      string // The token that was refused.
	at      time.Time
	pending bool
}

// renewEvery is the shortest time between two log-ins after a 403. It bounds the cost of a
// payment that the provider refuses whatever the token. A guess, well below the lifetime of
// a token.
const renewEvery = time.Minute

// renewAgain is the wait before such a log-in is tried again after it failed. A guess:
// long enough for a short fault of the token endpoint.
const renewAgain = 5 * time.Second

func newLogins(now func() time.Time) *logins {
	return &logins{now: now, tokens: map[string]cachedToken{}, renewals: map[string]renewal{}}
}

// key names an account with its settings in the caches: once a credential was replaced, no
// token is used, and no log-in shared, that the credential before had.
func key(p provider.Provider, a provider.Account) string {
	settings := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(a.Settings)) {
		_, _ = fmt.Fprintf(settings, "%q=%q\n", name, a.Settings[name]) // A hash takes everything.
	}
	return p.Name + "/" + a.Name + "/" + string(settings.Sum(nil))
}

// token returns a valid token from the cache, or logs in with send. It never returns
// the refused one, "" for none.
func (l *logins) token(ctx context.Context, p provider.Provider, a provider.Account, refused string,
	send func(context.Context, provider.Question, string) (reply, error)) (string, error) {
	k := key(p, a)
	if cached, ok := l.cached(k); ok && cached != refused {
		return cached, nil
	}
	// One log-in serves all callers. Cancelling the first caller must not fail the others,
	// so only its deadline applies.
	shared := context.WithoutCancel(ctx)
	result := l.calls.DoChan(k, func() (any, error) {
		if cached, ok := l.cached(k); ok && cached != refused {
			return cached, nil
		}
		limited := shared
		if deadline, ok := ctx.Deadline(); ok {
			var cancel context.CancelFunc
			limited, cancel = context.WithDeadline(shared, deadline)
			defer cancel()
		}
		return l.logIn(limited, p, a, send)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return "", r.Err
		}
		token, _ := r.Val.(string)
		return token, nil
	case <-ctx.Done():
		return "", transportError(ctx.Err())
	}
}

// logIn logs in and caches the token.
func (l *logins) logIn(ctx context.Context, p provider.Provider, a provider.Account,
	send func(context.Context, provider.Question, string) (reply, error)) (string, error) {
	question, err := p.Login.Ask(a)
	if err != nil {
		return "", err
	}
	asked := l.now()
	r, err := send(ctx, question, "")
	if err != nil {
		return "", err
	}
	token, err := p.Login.Answer(r.Reply)
	if errors.Is(err, provider.ErrCredential) {
		return "", fmt.Errorf("%w: %w", provider.ErrRevoked, err) // The log-in names no payment.
	}
	if err != nil {
		return "", r.withRetryAfter(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.tokens, func(_ string, t cachedToken) bool { return !asked.Before(t.until) })
	l.tokens[key(p, a)] = cachedToken{value: token.Value, until: asked.Add(token.Lifetime - min(tokenMargin, token.Lifetime/2))}
	return token.Value, nil
}

// cached returns the account's token if it is still valid.
func (l *logins) cached(k string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.tokens[k]
	return t.value, ok && l.now().Before(t.until)
}

// drop removes a token that the provider refused, unless it was replaced already.
func (l *logins) drop(p provider.Provider, a provider.Account, refused string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tokens[key(p, a)].value == refused {
		delete(l.tokens, key(p, a))
	}
}

// renew replaces a token that a 403 refused, and returns false if the 403 stands: the
// payment alone may be refused, so there is at most one such log-in a minute, for all
// callers. Until it succeeds, the refused token stays in use.
func (l *logins) renew(ctx context.Context, p provider.Provider, a provider.Account, refused string,
	send func(context.Context, provider.Question, string) (reply, error)) (renewed bool, err error) {
	k := key(p, a)
	if !l.mayRenew(k, refused) {
		return false, nil
	}
	_, err = l.token(ctx, p, a, refused, send)
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.renewals[k]; r.of == refused {
		r.pending = false
		if err != nil { // Try again after renewAgain.
			r.at = l.now().Add(renewAgain - renewEvery)
		}
		l.renewals[k] = r
	}
	if err != nil {
		return false, fmt.Errorf("log in: %w", err)
	}
	return true, nil
}

// mayRenew reports whether a token that a 403 refused is to be replaced, or was
// replaced already.
func (l *logins) mayRenew(k, refused string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t, ok := l.tokens[k]; ok && t.value != refused {
		return true
	}
	if r, ok := l.renewals[k]; ok && l.now().Sub(r.at) < renewEvery {
		return r.pending && r.of == refused
	}
	l.renewals[k] = renewal{of: refused, at: l.now(), pending: true}
	return true
}
