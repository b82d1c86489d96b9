package webhook

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"arauto/gateway/ingress"
	"arauto/schemas/provider"
)

// Accounts are the accounts whose webhooks a Gateway accepts.
type Accounts struct {
	// Credentials are, by provider and account, the webhook secrets of a provider that
	// signs and the path keys of a provider that does not. An account has one or two,
	// and each of them authenticates, so that they can be rotated.
	Credentials map[string]map[string][]string

	// Limits are, by provider and account, what this gateway accepts of it. An account
	// without an entry has no limit.
	Limits map[string]map[string]Limit

	// Access is, by provider and account, what its clients need beside a credential. An
	// account without an entry asks for nothing.
	Access map[string]map[string]Access
}

// endpoint is one provider with the credentials, limits, access and counters of its accounts.
type endpoint struct {
	provider.Provider
	alone         bool                            // Its account is the only one of the gateway.
	credentials   map[string][]string             // By account.
	limits        map[string]*limiter             // By account; nil for none.
	configured    map[string]Limit                // Of limits.
	access        map[string]*access              // By account; nil for none.
	authenticated map[string][]prometheus.Counter // By account, in the order of its credentials.
	accepted      prometheus.Counter
	durable       prometheus.Observer
}

// Replace makes the Gateway accept the webhooks of these accounts and no others, from the
// next request on; a request that has begun is finished with the accounts before. An
// account whose limit stays has used as much of it as before. After an error nothing has
// changed. The maps must not be changed after the call. Call it from one goroutine at a time.
func (g *Gateway) Replace(a Accounts) error {
	if err := a.check(g.options.Providers); err != nil {
		return err
	}
	g.replace(a)
	return nil
}

func (g *Gateway) replace(a Accounts) {
	accounts := 0
	for _, credentials := range a.Credentials {
		accounts += len(credentials)
	}
	endpoints := make(map[string]*endpoint, len(g.options.Providers))
	for _, p := range g.options.Providers {
		limits := make(map[string]*limiter, len(a.Limits[p.Name]))
		for account, l := range a.Limits[p.Name] {
			if limits[account] = g.limiterNow(p.Name, account, l); limits[account] == nil {
				limits[account] = newLimiter(l)
			}
		}
		endpoints[p.Name] = &endpoint{
			Provider: p, alone: accounts == 1, credentials: a.Credentials[p.Name], limits: limits, configured: a.Limits[p.Name],
			access:        newAccess(a.Access[p.Name]),
			authenticated: g.metrics.authenticated(p.Name, a.Credentials[p.Name]),
			accepted:      g.metrics.webhooks.WithLabelValues(p.Name, accepted.label(), ""),
			durable:       g.metrics.durable.WithLabelValues(p.Name),
		}
	}
	g.endpoints.Store(&endpoints)
}

// holder is whose share of the memory for bodies an account's bodies take.
func (e *endpoint) holder(account string) ingress.Holder {
	if e.alone {
		return ingress.Holder{}
	}
	return ingress.Holder{Provider: e.Name, Account: account}
}

// limiterNow is the limiter of an account in use, nil if there is none with that limit.
func (g *Gateway) limiterNow(provider, account string, l Limit) *limiter {
	now := g.endpoints.Load()
	if now == nil || (*now)[provider].configured[account] != l {
		return nil
	}
	return (*now)[provider].limits[account]
}

// accountName is a name that a subject token, a path segment and a log line carry without
// escapes.
var accountName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// check returns every problem of the accounts. It names provider and account, never a
// credential.
func (a Accounts) check(set provider.Set) error {
	var problems []error
	for name, accounts := range a.Access {
		for account, one := range accounts {
			if err := one.check(); err != nil {
				problems = append(problems, fmt.Errorf("account %s of %s: %w", account, name, err))
			}
		}
	}
	for name, accounts := range a.Limits {
		for account, l := range accounts {
			if err := l.check(); err != nil {
				problems = append(problems, fmt.Errorf("account %s of %s: %w", account, name, err))
			}
		}
	}
	for name, accounts := range a.Credentials {
		p, ok := set.Get(name)
		if !ok {
			problems = append(problems, fmt.Errorf("credentials name the unknown provider %q", name))
			continue
		}
		for account, credentials := range accounts {
			if err := checkAccount(p, account, credentials); err != nil {
				problems = append(problems, fmt.Errorf("account %s of %s: %w", account, name, err))
			}
		}
	}
	return errors.Join(problems...)
}

func checkAccount(p provider.Provider, account string, credentials []string) error {
	if !accountName.MatchString(account) {
		return fmt.Errorf("name does not match %s", accountName)
	}
	if len(credentials) == 0 {
		return errors.New("it has no credential")
	}
	if len(credentials) > len(ordinals) {
		return fmt.Errorf("it has more than %d credentials", len(ordinals))
	}
	for _, credential := range credentials {
		if credential == "" {
			return errors.New("a credential is empty")
		}
		if p.Unsigned != "" && strings.ContainsFunc(credential, func(r rune) bool { return !isUnreserved(r) }) {
			return errors.New("a path key has characters other than letters, digits, '-', '.', '_' and '~'")
		}
	}
	return nil
}
