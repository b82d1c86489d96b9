package config

import (
	"cmp"
	"crypto/tls"
	"slices"
	"strings"

	"arauto/deploy/runtime/durability"
	"arauto/schemas/provider"
	"arauto/schemas/subject"
)

// credentials are the webhook secrets or path keys of accounts, one or two each.
type credentials map[owner][]Secret

// Credentials returns the webhook secrets of a provider that signs, the path keys of
// one that does not: one or two per account, none of them empty. No account means an
// empty map.
func (g Gateway) Credentials(provider string) map[string][]string {
	revealed := map[string][]string{}
	for o, secrets := range g.credentials {
		for _, s := range secrets {
			if o.provider == provider {
				revealed[o.account] = append(revealed[o.account], s.Reveal())
			}
		}
	}
	return revealed
}

// Limits returns what one gateway takes of the provider's accounts: what an
// account's own section says, else its provider's, else gateway.limit.
func (g Gateway) Limits(provider string) map[string]Limit {
	limits := map[string]Limit{}
	for o, l := range g.limits {
		if o.provider == provider {
			limits[o.account] = l
		}
	}
	return limits
}

// Accounts returns a provider's accounts by name, each with a value for every
// setting that the provider declares: the configured one, else its default.
// It is empty for a provider that this process does not serve.
func (l Lookup) Accounts(name string) map[string]provider.Account {
	accounts := map[string]provider.Account{}
	for o, settings := range l.settings {
		if o.provider != name {
			continue
		}
		revealed := make(map[string]string, len(settings))
		for setting, value := range settings {
			revealed[setting] = value.Reveal()
		}
		accounts[o.account] = provider.Account{Name: o.account, Settings: revealed}
	}
	return accounts
}

// Retry returns what the file says about repeating the provider's failed
// look-ups; the zero Retry where it says nothing.
func (l Lookup) Retry(provider string) Retry { return l.retries[provider] }

// RateLimit returns what may be asked of an account: what its own section says, else its provider's, else lookup.rate_limit.
func (l Lookup) RateLimit(provider, account string) RateLimit {
	return l.rateLimits[owner{provider, account}].over(l.Default)
}

// over is l where it says something, and base elsewhere.
func (l Limit) over(base Limit) Limit {
	return Limit{Rate: cmp.Or(l.Rate, base.Rate), Burst: cmp.Or(l.Burst, base.Burst), Bytes: cmp.Or(l.Bytes, base.Bytes)}
}

// over is r where it says something, and base elsewhere.
func (r RateLimit) over(base RateLimit) RateLimit {
	return RateLimit{
		Rate:        cmp.Or(r.Rate, base.Rate),
		Burst:       cmp.Or(r.Burst, base.Burst),
		Concurrency: cmp.Or(r.Concurrency, base.Concurrency),
	}
}

func (k *checks) tokens() (tokens subject.Tokens) {
	r := k.file.HashKey
	if r.IsZero() {
		if _, present := k.lines["hash_key"]; !present {
			k.refuse("hash_key", "is missing; write hash_key: ${ARAUTO_HASH_KEY} and never change its value")
		}
		return tokens
	}
	value, ok := k.resolve(r)
	if !ok {
		return tokens
	}
	wrong := k.weak(value, minHashKey)
	tokens, err := subject.Keyed(value)
	if err != nil && wrong == "" {
		wrong = "has fewer than 16 bytes; use 32 random ones"
	}
	if wrong != "" {
		k.refuse(r.path, wrong+" and never change them")
	}
	return tokens
}

func (k *checks) normalize() Normalize {
	n := k.file.Normalize
	n.Tokens, n.TimeScale, n.RemoveAfter, n.Deployment = k.tokens(), k.file.TimeScale, k.file.Sweep.RemoveAfter, k.file.Deployment
	return n
}

func (k *checks) sweep() Sweep {
	s := k.file.Sweep
	s.Tokens = k.tokens()
	return s
}

func (k *checks) expect() Expect {
	e := k.file.Expect
	e.Tokens, e.TimeScale, e.Deployment = k.tokens(), k.file.TimeScale, k.file.Deployment
	if e.Token.IsZero() {
		return e
	}
	if value, ok := k.resolve(e.Token); ok && value != "" {
		k.wrong(e.Token.path, k.weak(value, minKey))
		e.Bearer = NewSecret(value)
	}
	return e
}

func (k *checks) console() Console {
	c := k.file.Console
	c.Tokens, c.Index, c.Removed = k.tokens(), k.beside(c.Index), k.file.Sweep.RemoveAfter
	c.Access = k.consoleAccess(c.Access)
	if c.Password.IsZero() {
		return c
	}
	if value, ok := k.resolve(c.Password); ok && value != "" {
		c.Acts = NewSecret(value)
	}
	return c
}

func (k *checks) gateway() Gateway {
	g := k.file.Gateway
	g.Tokens = k.tokens()
	if claimed := k.Durability(); claimed.Covers(durability.PowerLoss) && len(separated(k.file.NATS.MonitorURL)) == 0 {
		k.refuse("gateway.durability", "claims "+claimed.String()+", but without nats.monitor_url nobody can see whether the broker syncs before it confirms; "+
			"write nats.monitor_url, or claim no power-loss here")
	}
	g.TLS = k.readTLS(g.TLS)
	g.credentials, g.limits, g.access = credentials{}, map[owner]Limit{}, map[owner]Access{}
	for _, a := range k.accounts {
		if len(a.part.WebhookSecrets)+len(a.part.PathKeys) == 0 {
			k.refuse(a.at, "has no "+a.credentialKey()+"; write "+a.credentialKey()+`: ["${NAME}"]`)
		}
		g.credentials[a.owner] = k.credentials(a, g.credentials)
		g.limits[a.owner] = a.part.Limit.over(k.file.Providers[a.provider.Name].Limit.over(g.Limit))
		g.access[a.owner] = k.access(a)
	}
	return g
}

// GatewayTLS returns the gateway's certificate files without reading them.
func (c *Config) GatewayTLS() TLS {
	return TLS{Certificate: c.beside(c.file.Gateway.TLS.Certificate), Key: c.beside(c.file.Gateway.TLS.Key)}
}

// readTLS reads the pair once, so that what cannot serve is refused at start, and
// gives the paths a meaning that does not depend on the folder.
func (k *checks) readTLS(t TLS) TLS {
	resolved := k.GatewayTLS()
	if t.Certificate == "" || t.Key == "" {
		return resolved // Neither, or reported by checkTLS.
	}
	certificate := k.readable("gateway.tls.certificate", t.Certificate, "PEM file")
	key := k.readable("gateway.tls.key", t.Key, "PEM file")
	if certificate == nil || key == nil {
		return resolved
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		k.refuse("gateway.tls", "is not a usable pair: "+strings.TrimPrefix(err.Error(), "tls: ")+"; write the PEM files of a certificate with its chain and of its own key")
	}
	return resolved
}

// credentials reads an account's one or two webhook secrets or path keys. An empty second
// one is dropped where the file allows it: no rotation is under way. taken are the
// credentials of the accounts before, none of which may be shared.
func (k *checks) credentials(a placed, taken credentials) []Secret {
	list, form := a.part.WebhookSecrets, k.secretForm
	if a.provider.Unsigned != "" {
		list, form = a.part.PathKeys, k.pathKeyForm
	}
	var secrets []Secret
	for i, r := range list {
		if r.IsZero() {
			continue // Reported by the decoder.
		}
		value, ok := k.resolve(r)
		switch {
		case !ok || value == "" && i > 0:
			continue
		case value == "":
			k.refuse(r.path, "is empty; only the second of two may be")
			continue
		}
		k.wrong(r.path, form(value))
		k.wrong(r.path, k.shared(value, a.owner, taken))
		secrets = append(secrets, NewSecret(value))
	}
	return secrets
}

// secretForm says what is wrong with a webhook secret. A provider chooses what
// it sends, but a scheme is no part of it.
func (c *Config) secretForm(secret string) string {
	if scheme, _, spaced := strings.Cut(secret, " "); spaced && strings.EqualFold(scheme, "Bearer") {
		return "begins with Bearer, without which a header is compared; write only what follows it"
	}
	return c.weak(secret, minKey)
}

// pathKeyForm says what is wrong with a path key.
func (c *Config) pathKeyForm(key string) string {
	if !pathKey.MatchString(key) {
		return "cannot stand in a URL path as it is; use A-Z, a-z, 0-9, _, ~ and - only"
	}
	return c.weak(key, minKey)
}

func (k *checks) lookup() Lookup {
	l := k.file.Lookup
	l.Tokens, l.TimeScale = k.tokens(), k.file.TimeScale
	l.settings, l.retries, l.rateLimits = map[owner]map[string]Secret{}, map[string]Retry{}, map[owner]RateLimit{}
	if l.Providers = slices.Clone(l.Providers); len(l.Providers) == 0 {
		l.Providers = k.providers.Names()
	}
	for name, part := range k.file.Providers {
		l.retries[name] = Retry{Policy: part.Retry, Delays: slices.Clone(part.Delays)}
	}
	for _, a := range k.accounts {
		if slices.Contains(l.Providers, a.provider.Name) {
			l.rateLimits[a.owner] = a.part.RateLimit.over(k.file.Providers[a.provider.Name].RateLimit)
			l.settings[a.owner] = k.settings(a)
		}
	}
	return l
}

func (k *checks) settings(a placed) map[string]Secret {
	settings := map[string]Secret{}
	for _, s := range a.provider.Settings {
		r, present := a.part.Settings[s.Name]
		at, value, ok := a.at+".settings."+s.Name, "", true
		if !r.IsZero() {
			value, ok = k.resolve(r)
		}
		if !ok {
			continue
		}
		value = cmp.Or(value, s.Default)
		if value == "" && s.Required && (!present || !r.IsZero()) {
			k.refuse(at, "is missing; write "+s.Name+": "+example(s)+" ("+s.Help+")")
		}
		k.wrong(at, k.settingWrong(s, value))
		settings[s.Name] = NewSecret(value)
	}
	return settings
}

// example is what the operator should write for a setting.
func example(s provider.Setting) string {
	switch {
	case s.Secret:
		return "${NAME}"
	case s.URL:
		return "https://host"
	}
	return "a value"
}
