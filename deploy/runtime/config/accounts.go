package config

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"arauto/schemas/provider"
)

// minKey is the shortest secret in bytes: production takes no shorter webhook
// secret or path key, and subject.Keyed no shorter hash key. Shorter ones can be
// guessed.
const minKey = 16

var (
	// accountName keeps account names usable as path segment, subject token
	// and metric label as they stand.
	accountName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	// pathKey is what travels in a URL path without being escaped.
	pathKey = regexp.MustCompile(`^[A-Za-z0-9_~-]+$`)
)

// AccountNames lists the accounts of a provider, sorted, none for one that has
// none. It reads no secret.
func (c *Config) AccountNames(of string) []string {
	return slices.Sorted(maps.Keys(c.file.Providers[of].Accounts))
}

func (k *checks) checkProviders() {
	for _, name := range slices.Sorted(maps.Keys(k.config.file.Providers)) {
		part, at := k.config.file.Providers[name], "providers."+name
		p, ok := k.config.providers.Get(name)
		if !ok {
			k.refuse(at, shown(name)+" is not a provider; "+instead(name, k.config.providers.Names()))
			continue
		}
		if policies := k.config.providers.RetryPolicies(); part.Retry != "" && !slices.Contains(policies, part.Retry) {
			k.refuse(at+".retry", k.quoted(at+".retry", part.Retry)+" is not a retry policy; "+k.instead(at+".retry", part.Retry, policies))
		}
		k.checkDelays(at+".delays", part.Delays)
		k.checkRateLimit(at+".rate_limit", part.RateLimit)
		rate := k.config.file.Gateway.Limit.Rate
		k.checkLimit(at+".limit", part.Limit, rate)
		for _, account := range slices.Sorted(maps.Keys(part.Accounts)) {
			here := at + ".accounts." + account
			if !accountName.MatchString(account) {
				k.refuse(here, "is not an account name; write at most 32 of a-z, 0-9 and -, not beginning with -")
				continue
			}
			k.checkAccount(p, here, part.Accounts[account])
			k.checkRateLimit(here+".rate_limit", part.Accounts[account].RateLimit)
			k.checkLimit(here+".limit", part.Accounts[account].Limit, cmp.Or(part.Limit.Rate, rate))
		}
	}
}

func (k *checks) checkDelays(path string, delays []time.Duration) {
	for i, delay := range delays {
		at := path + "[" + strconv.Itoa(i) + "]"
		switch {
		case delay <= 0:
			k.refuse(at, delay.String()+" is not after the first failure; write a positive duration")
		case i > 0 && delay <= delays[i-1]:
			k.refuse(at, fmt.Sprintf("%v does not come after %v; write offsets from the first failure, ascending", delay, delays[i-1]))
		}
	}
}

// checkAccount refuses what is wrong with an account's form, without reading
// a secret.
func (k *checks) checkAccount(p provider.Provider, at string, a accountPart) {
	if p.Unsigned == "" && len(a.PathKeys) > 0 {
		k.refuse(at+".path_keys", p.Name+" authenticates its webhooks; write webhook_secrets instead")
	}
	if p.Unsigned != "" && len(a.WebhookSecrets) > 0 {
		k.refuse(at+".webhook_secrets", p.Name+" does not sign its webhooks; write path_keys instead")
	}
	for name, list := range map[string][]reference{"webhook_secrets": a.WebhookSecrets, "path_keys": a.PathKeys} {
		if len(list) > 2 {
			k.refuse(at+"."+name, "has "+strconv.Itoa(len(list))+" entries; write one, or two during a rotation")
		}
		for _, r := range list {
			k.checkSecret(r)
		}
	}
	names := settingNames(p)
	for _, name := range slices.Sorted(maps.Keys(a.Settings)) {
		r, i := a.Settings[name], slices.Index(names, name)
		switch {
		case i < 0:
			k.refuse(at+".settings."+name, p.Name+" has no setting "+shown(name)+"; "+instead(name, names))
		case r.IsZero(): // Already reported.
		case p.Settings[i].Secret:
			k.checkSecret(r)
		default:
			r.plain = true
			a.Settings[name] = r
			if r.literal() && r.word.variable == "" {
				k.wrong(r.path, k.config.settingWrong(p.Settings[i], r.word.text))
			}
		}
	}
}

func settingNames(p provider.Provider) []string {
	names := make([]string, len(p.Settings))
	for i, s := range p.Settings {
		names[i] = s.Name
	}
	return names
}

// settingWrong says what is wrong with a setting's value, "" for nothing. The
// value is never quoted: a URL may carry a password.
func (c *Config) settingWrong(s provider.Setting, value string) string {
	if !s.URL || value == "" {
		return ""
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return "is not an absolute URL; write one that begins with https:// and a host"
	case u.User != nil:
		return "carries a user or password; write the URL without it"
	case !c.Local() && strings.ContainsAny(value, "?#"):
		return "carries a query or fragment; write the URL without ? and #"
	case u.Scheme == "http" && !c.Local() && !loopback(u.Hostname()):
		return "sends credentials in plain text; write https:// (plain http is for this machine or profile local)"
	}
	return ""
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// credentials are secrets by provider and account.
type credentials map[string]map[string][]Secret

// of reveals one provider's secrets by account, in a map of the caller's own.
func (all credentials) of(provider string) map[string][]string {
	revealed := map[string][]string{}
	for account, secrets := range all[provider] {
		for _, s := range secrets {
			revealed[account] = append(revealed[account], s.Reveal())
		}
	}
	return revealed
}

// PlainSettings are an account's settings for people: the configured values or the
// defaults. A stand-in takes the place of every secret that is configured, and of a
// required value that is not. No secret is read. configured says whether the file
// has the account.
func (c *Config) PlainSettings(of, account, standIn string) (settings map[string]string, configured bool) {
	p, _ := c.providers.Get(of)
	part, configured := c.file.Providers[of].Accounts[account]
	settings = make(map[string]string, len(p.Settings))
	for _, s := range p.Settings {
		r := part.Settings[s.Name]
		value := s.Default
		switch {
		case s.Secret && !r.IsZero():
			value = standIn
		case !r.IsZero():
			if plain, problem := c.resolve(r); problem == nil && plain != "" {
				value = plain
			}
		}
		if value == "" && s.Required {
			value = standIn
		}
		settings[s.Name] = value
	}
	return settings, configured
}
