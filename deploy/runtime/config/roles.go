package config

import (
	"maps"
	"slices"
	"strings"

	"arauto/deploy/runtime/durability"
	"arauto/schemas/provider"
)

// WebhookSecrets returns the secrets of a provider that signs, one or two per
// account, none of them empty. No account means an empty map.
func (g Gateway) WebhookSecrets(provider string) map[string][]string {
	return g.webhookSecrets.of(provider)
}

// PathKeys returns the path keys of a provider that does not sign, one or two
// per account, none of them empty. No account means an empty map.
func (g Gateway) PathKeys(provider string) map[string][]string { return g.pathKeys.of(provider) }

// Accounts returns a provider's accounts by name, each with a value for every
// setting that the provider declares: the configured one, else its default.
// It is empty for a provider that this process does not serve.
func (l Lookup) Accounts(name string) map[string]provider.Account {
	accounts := map[string]provider.Account{}
	for account, settings := range l.settings[name] {
		revealed := make(map[string]string, len(settings))
		for setting, value := range settings {
			revealed[setting] = value.Reveal()
		}
		accounts[account] = provider.Account{Name: account, Settings: revealed}
	}
	return accounts
}

// Retry returns what the file says about repeating the provider's failed
// look-ups; the zero Retry where it says nothing.
func (l Lookup) Retry(provider string) Retry { return l.retries[provider] }

func (c *Config) resolveHashKey() (Secret, Problems) {
	k := &checks{config: c}
	r := c.file.HashKey
	if r.IsZero() {
		if _, present := c.lines["hash_key"]; !present {
			k.refuse("hash_key", "is missing; write hash_key: ${ARAUTO_HASH_KEY} and never change its value")
		}
		return Secret{}, k.problems
	}
	value, problem := c.resolve(r)
	if problem != nil {
		return Secret{}, Problems{*problem}
	}
	wrong := c.weak(value, minHashKey)
	if len(value) < minKey && c.Local() {
		wrong = "has fewer than 16 bytes; use 32 random ones"
	}
	if wrong != "" {
		return Secret{}, Problems{c.refuse(r, wrong+" and never change them")}
	}
	return NewSecret(value), nil
}

func (c *Config) resolveNormalize() (Normalize, Problems) {
	n := c.file.Normalize
	var problems Problems
	n.HashKey, problems = c.resolveHashKey()
	n.TimeScale = c.file.TimeScale
	return n, problems
}

func (c *Config) resolveSweep() (Sweep, Problems) {
	s := c.file.Sweep
	var problems Problems
	s.HashKey, problems = c.resolveHashKey()
	return s, problems
}

func (c *Config) resolveGateway() (Gateway, Problems) {
	g := c.file.Gateway
	var problems Problems
	g.HashKey, problems = c.resolveHashKey()
	problems = append(problems, c.checkSight(g)...)
	g.webhookSecrets, g.pathKeys, g.limits = credentials{}, credentials{}, map[string]map[string]Limit{}
	tlsFiles, unusable := c.resolveTLS("gateway.tls", g.TLS)
	g.TLS, problems = tlsFiles, append(problems, unusable...)
	var taken []owned
	for _, a := range c.accounts() {
		into, key, list, form := g.webhookSecrets, "webhook_secrets", a.part.WebhookSecrets, c.secretForm
		if a.provider.Unsigned != "" {
			into, key, list, form = g.pathKeys, "path_keys", a.part.PathKeys, c.pathKeyForm
		}
		if len(a.part.WebhookSecrets)+len(a.part.PathKeys) == 0 {
			k := &checks{config: c}
			k.refuse(a.at, "has no "+key+"; write "+key+`: ["${NAME}"]`)
			problems = append(problems, k.problems...)
		}
		if into[a.provider.Name] == nil {
			into[a.provider.Name] = map[string][]Secret{}
		}
		if g.limits[a.provider.Name] == nil {
			g.limits[a.provider.Name] = map[string]Limit{}
		}
		g.limits[a.provider.Name][a.account] = a.part.Limit.over(c.file.Providers[a.provider.Name].Limit.over(g.Limit))
		secrets, found := c.resolveList(list, form, a.provider.Name, taken)
		into[a.provider.Name][a.account] = secrets
		problems = append(problems, found...)
		for _, s := range secrets {
			taken = append(taken, owned{a.provider.Name, a.account, s})
		}
	}
	return g, problems
}

// checkSight refuses a claim that nobody could ever verify.
func (c *Config) checkSight(g Gateway) Problems {
	k := &checks{config: c}
	claimed, err := durability.Parse(g.Durability)
	if err == nil && claimed.Covers(durability.PowerLoss) && len(monitors(c.file.NATS.MonitorURL)) == 0 {
		k.refuse("gateway.durability", "claims "+claimed.String()+", but without nats.monitor_url nobody can see whether the broker syncs before it confirms; "+
			"write nats.monitor_url, or claim no power-loss here")
	}
	return k.problems
}

// resolveList reads an account's one or two secrets. An empty second one that
// the file allows to be empty is dropped: no rotation is under way. form says
// what is wrong with a secret's form, "" for nothing. taken are the secrets of
// other accounts, with which none may be shared.
func (c *Config) resolveList(list []reference, form func(string) string, provider string, taken []owned) ([]Secret, Problems) {
	var secrets []Secret
	var problems Problems
	for i, r := range list {
		if r.IsZero() {
			continue // Reported by the decoder.
		}
		value, problem := c.resolve(r)
		switch {
		case problem != nil:
			problems = append(problems, *problem)
			continue
		case value == "" && i > 0:
			continue
		case value == "":
			problems = append(problems, c.refuse(r, "is empty; only the second of two may be"))
			continue
		}
		for _, wrong := range []string{form(value), c.shared(value, provider, taken)} {
			if wrong != "" {
				problems = append(problems, c.refuse(r, wrong))
			}
		}
		secrets = append(secrets, NewSecret(value))
	}
	return secrets, problems
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

func (c *Config) resolveLookup() (Lookup, Problems) {
	l := c.file.Lookup
	var problems Problems
	l.HashKey, problems = c.resolveHashKey()
	l.TimeScale = c.file.TimeScale
	l.settings, l.retries = map[string]map[string]map[string]Secret{}, map[string]Retry{}
	l.rateLimits = map[string]map[string]RateLimit{}
	if l.Providers = slices.Clone(l.Providers); len(l.Providers) == 0 {
		l.Providers = c.providers.Names()
	}
	for name, part := range c.file.Providers {
		l.retries[name] = Retry{Policy: part.Retry, Delays: slices.Clone(part.Delays)}
	}
	for _, a := range c.accounts() {
		name := a.provider.Name
		if !slices.Contains(l.Providers, name) {
			continue
		}
		if l.settings[name] == nil {
			l.settings[name] = map[string]map[string]Secret{}
			l.rateLimits[name] = map[string]RateLimit{}
		}
		l.rateLimits[name][a.account] = a.part.RateLimit.over(c.file.Providers[name].RateLimit.over(l.Default))
		settings, found := c.resolveSettings(a)
		l.settings[name][a.account] = settings
		problems = append(problems, found...)
	}
	return l, problems
}

func (c *Config) resolveSettings(a placed) (map[string]Secret, Problems) {
	settings := map[string]Secret{}
	k := &checks{config: c}
	for _, s := range a.provider.Settings {
		r, present := a.part.Settings[s.Name]
		at := a.at + ".settings." + s.Name
		value := ""
		if !r.IsZero() {
			var problem *Problem
			if value, problem = c.resolve(r); problem != nil {
				k.problems = append(k.problems, *problem)
				continue
			}
		}
		if value == "" {
			value = s.Default
		}
		if value == "" && s.Required && (!present || !r.IsZero()) {
			k.refuse(at, "is missing; write "+s.Name+": "+example(s)+" ("+s.Help+")")
		}
		k.wrong(at, c.settingWrong(s, value))
		settings[s.Name] = NewSecret(value)
	}
	return settings, k.problems
}

// example is what the operator should write for a setting.
func example(s provider.Setting) string {
	if s.Secret {
		return "${NAME}"
	}
	if s.URL {
		return "https://host"
	}
	return "a value"
}

// placed is one account of the file and where it stands.
type placed struct {
	provider provider.Provider
	account  string
	at       string
	part     accountPart
}

// accounts lists every account with a usable name of a known provider, in a
// fixed order; check reports the others.
func (c *Config) accounts() []placed {
	var all []placed
	for _, name := range slices.Sorted(maps.Keys(c.file.Providers)) {
		p, ok := c.providers.Get(name)
		if !ok {
			continue
		}
		parts := c.file.Providers[name].Accounts
		for _, account := range slices.Sorted(maps.Keys(parts)) {
			if accountName.MatchString(account) {
				at := "providers." + name + ".accounts." + account
				all = append(all, placed{provider: p, account: account, at: at, part: parts[account]})
			}
		}
	}
	return all
}
