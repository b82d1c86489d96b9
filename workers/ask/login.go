package ask

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

	mu     sync.Mutex
	tokens map[string]cachedToken
}

type cachedToken struct {
	value string
	until time.Time
}

func newLogins(now func() time.Time) *logins {
	return &logins{now: now, tokens: map[string]cachedToken{}}
}

func key(p provider.Provider, a provider.Account) string { return p.Name + "/" + a.Name }

// token returns a token that is valid for a while, from the cache or by
// logging in with put.
func (l *logins) token(ctx context.Context, p provider.Provider, a provider.Account,
	put func(context.Context, provider.Question, string) (reply, error)) (string, error) {
	k := key(p, a)
	if cached, ok := l.cached(k); ok {
		return cached, nil
	}
	// Whoever comes first logs in for all; its cancellation must not fail the
	// others, but its deadline is as good as theirs.
	shared := context.WithoutCancel(ctx)
	result := l.flight.DoChan(k, func() (any, error) {
		if cached, ok := l.cached(k); ok {
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
