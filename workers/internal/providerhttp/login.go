package providerhttp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"arauto/schemas/provider"
)

// early is how long before its end a token is replaced. PicPay's lasts five
// minutes, and public clients refresh it 30 s early too.
const early = 30 * time.Second

// logins caches bearer tokens per provider and account. Concurrent look-ups
// that need a token share one login.
type logins struct {
	now    func() time.Time
	flight singleflight.Group

	mu       sync.Mutex
	tokens   map[string]cachedToken
	renewals map[string]renewal
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

// renewEvery is how far apart the log-ins lie that 403s lead to. It bounds what a
// payment costs that the provider refuses whatever the token: at most one of these
// in a minute. It is a guess, well below the lifetime of a token.
const renewEvery = time.Minute

// renewAgain is when a log-in that failed may be tried again. A guess: soon enough
// for a blip of the token endpoint.
const renewAgain = 5 * time.Second

func newLogins(now func() time.Time) *logins {
	return &logins{now: now, tokens: map[string]cachedToken{}, renewals: map[string]renewal{}}
}

func key(p provider.Provider, a provider.Account) string { return p.Name + "/" + a.Name }

// token returns a token that is valid for a while, from the cache or by
// logging in with put.
func (l *logins) token(ctx context.Context, p provider.Provider, a provider.Account,
	put func(context.Context, provider.Question, string) (reply, error)) (string, error) {
	return l.other(ctx, p, a, "", put)
}

// other is token, but never the token that was refused.
func (l *logins) other(ctx context.Context, p provider.Provider, a provider.Account, refused string,
	put func(context.Context, provider.Question, string) (reply, error)) (string, error) {
	k := key(p, a)
	if cached, ok := l.cached(k); ok && cached != refused {
		return cached, nil
	}
	// Whoever comes first logs in for all; its cancellation must not fail the
	// others, but its deadline is as good as theirs.
	shared := context.WithoutCancel(ctx)
	result := l.flight.DoChan(k, func() (any, error) {
		if cached, ok := l.cached(k); ok && cached != refused {
			return cached, nil
		}
		limited := shared
		if deadline, ok := ctx.Deadline(); ok {
			var cancel context.CancelFunc
			limited, cancel = context.WithDeadline(shared, deadline)
			defer cancel()
		}
		return l.logIn(limited, p, a, put)
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

func (l *logins) logIn(ctx context.Context, p provider.Provider, a provider.Account,
	put func(context.Context, provider.Question, string) (reply, error)) (string, error) {
	question, err := p.Login.Ask(a)
	if err != nil {
		return "", err
	}
	asked := l.now()
	r, err := put(ctx, question, "")
	if err != nil {
		return "", err
	}
	token, err := p.Login.Answer(r.Reply)
	if errors.Is(err, provider.ErrCredential) {
		return "", fmt.Errorf("%w: %w", provider.ErrRevoked, err) // No payment was named.
	}
	if err != nil {
		return "", r.throttled(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens[key(p, a)] = cachedToken{value: token.Value, until: asked.Add(token.Lifetime - min(early, token.Lifetime/2))}
	return token.Value, nil
}

func (l *logins) cached(k string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.tokens[k]
	return t.value, ok && l.now().Before(t.until)
}

// drop forgets a token that the provider refused, unless another one has
// taken its place.
func (l *logins) drop(p provider.Provider, a provider.Account, refused string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tokens[key(p, a)].value == refused {
		delete(l.tokens, key(p, a))
	}
}

// renew gets another token in place of one that a 403 refused. renewed is false
// where the refusal counts as it stands: a token is replaced like this once, for
// all who wait, and not again soon, because the payment alone may be refused. Until
// there is another one the refused token stays, which is good then. An error is
// that of the log-in.
func (l *logins) renew(ctx context.Context, p provider.Provider, a provider.Account, refused string,
	put func(context.Context, provider.Question, string) (reply, error)) (renewed bool, err error) {
	k := key(p, a)
	if !l.doubt(k, refused) {
		return false, nil
	}
	_, err = l.other(ctx, p, a, refused, put)
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.renewals[k]; r.of == refused {
		r.pending = false
		if err != nil { // The token endpoint may be back soon.
			r.at = l.now().Add(renewAgain - renewEvery)
		}
		l.renewals[k] = r
	}
	if err != nil {
		return false, fmt.Errorf("log in: %w", err)
	}
	return true, nil
}

// doubt reports whether a token that a 403 refused is to be replaced, or has been
// already.
func (l *logins) doubt(k, refused string) bool {
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
