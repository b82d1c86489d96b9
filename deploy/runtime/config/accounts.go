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

// owner is an account of a provider.
type owner struct{ provider, account string }

func (o owner) compare(other owner) int {
	return cmp.Or(cmp.Compare(o.provider, other.provider), cmp.Compare(o.account, other.account))
}

// placed is one account of the file and where it stands.
type placed struct {
	owner
	provider provider.Provider
	at       string
	part     accountPart
}

// credentialKey is the key of the account's credentials, which depends on whether
// its provider signs.
func (a placed) credentialKey() string {
	if a.provider.Unsigned != "" {
		return "path_keys"
	}
	return "webhook_secrets"
}

// AccountNames lists the accounts of a provider, sorted, none for one that has
// none. It reads no secret.
func (c *Config) AccountNames(of string) []string {
	return slices.Sorted(maps.Keys(c.file.Providers[of].Accounts))
}

// SameShop reports whether the orders of two accounts are counted by one shop, so that the same
// number is the same order.
func (c *Config) SameShop(provider, account, otherProvider, otherAccount string) bool {
	return c.file.Providers[provider].Accounts[account].Shop == c.file.Providers[otherProvider].Accounts[otherAccount].Shop
}

// checkProviders also keeps every account with a usable name of a known provider,
// in a fixed order, for the roles that resolve them.
func (k *checks) checkProviders() {
	for _, name := range slices.Sorted(maps.Keys(k.file.Providers)) {
		part, at := k.file.Providers[name], "providers."+name
		p, ok := k.providers.Get(name)
		if !ok {
			k.refuse(at, shown(name)+" is not a provider; "+instead(name, k.providers.Names()))
			continue
		}
		if part.Retry != "" {
			k.oneOf(at+".retry", part.Retry, "a retry policy", k.providers.RetryPolicies())
		}
		k.checkDelays(at+".delays", part.Delays)
		rate := k.file.Gateway.Limit.Rate
		k.checkLimit(at+".limit", part.Limit, rate)
		k.checkAccess(at, part.Networks, part.ClientCertificate, ClientCertificate{})
		for _, account := range k.AccountNames(name) {
			a := placed{owner{name, account}, p, at + ".accounts." + account, part.Accounts[account]}
			if !accountName.MatchString(account) {
				k.refuse(a.at, "is not an account name; write at most 32 of a-z, 0-9 and -, not beginning with -")
				continue
			}
			if shop := a.part.Shop; shop != "" && !accountName.MatchString(shop) {
				k.refuse(a.at+".shop", "is not a name of a shop; write at most 32 of a-z, 0-9 and -, not beginning with -")
			}
			k.checkAccount(a)
			k.checkLimit(a.at+".limit", a.part.Limit, cmp.Or(part.Limit.Rate, rate))
			k.checkAccess(a.at, a.part.Networks, a.part.ClientCertificate, part.ClientCertificate)
			k.accounts = append(k.accounts, a)
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
func (k *checks) checkAccount(a placed) {
	for key, list := range map[string][]reference{"webhook_secrets": a.part.WebhookSecrets, "path_keys": a.part.PathKeys} {
		if own := a.credentialKey(); key != own && len(list) > 0 {
			does := " authenticates its webhooks"
			if own == "path_keys" {
				does = " does not sign its webhooks"
			}
			k.refuse(a.at+"."+key, a.provider.Name+does+"; write "+own+" instead")
		}
		if len(list) > 2 {
			k.refuse(a.at+"."+key, "has "+strconv.Itoa(len(list))+" entries; write one, or two during a rotation")
		}
		for _, r := range list {
			k.checkSecret(r)
		}
	}
	known := make([]string, len(a.provider.Settings))
	for i, s := range a.provider.Settings {
		known[i] = s.Name
	}
	for _, name := range slices.Sorted(maps.Keys(a.part.Settings)) {
		r, i := a.part.Settings[name], slices.Index(known, name)
		switch {
		case i < 0:
			k.refuse(a.at+".settings."+name, a.provider.Name+" has no setting "+shown(name)+"; "+instead(name, known))
		case r.IsZero(): // Already reported.
		case a.provider.Settings[i].Secret:
			k.checkSecret(r)
		default:
			r.plain = true
			a.part.Settings[name] = r
			if r.literal() && r.word.variable == "" {
				k.wrong(r.path, k.settingWrong(a.provider.Settings[i], r.word.text))
			}
		}
	}
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

// PlainSettings are an account's settings for people: the configured values or the
// defaults. A stand-in takes the place of every secret that is configured, of a value whose
// variable or file is not here, and of a required value that is not configured. No secret is
// read. configured says whether the file has the account.
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
			plain, wrong := c.read(r)
			if value = cmp.Or(plain, value); wrong != "" {
				value = standIn
			}
		}
		if value == "" && s.Required {
			value = standIn
		}
		settings[s.Name] = value
	}
	return settings, configured
}

// RateLimitOf returns what may be asked of an account, as Lookup.RateLimit does. It reads no
// secret.
func (c *Config) RateLimitOf(provider, account string) RateLimit {
	part := c.file.Providers[provider]
	return part.Accounts[account].RateLimit.over(part.RateLimit).over(c.file.Lookup.Default)
}
