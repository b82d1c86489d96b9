package webhook

import "strings"

// defaultAccount is the account of a path without an account.
const defaultAccount = "default"

// target is what a webhook's path names.
type target struct{ provider, account, key string }

// splitTarget splits a raw request target into path and query, as they were sent.
func splitTarget(raw []byte) (path, query string) {
	path, query, _ = strings.Cut(originForm(string(raw)), "?")
	return path, query
}

// parsePath parses one of these paths:
//
//	/v1/{provider}/notifications
//	/v1/{provider}/{account}/notifications
//	/v1/{provider}/{account}/{key}/notifications
//
// One slash at the end is accepted, because some providers' panels add it; the query is
// not looked at. Nothing is normalized: a proxy that normalizes differently would see another
// path. So an empty, escaped or dot segment, a second slash at the end, and a further
// segment are refused.
func parsePath(path string) (target, bool) {
	inner, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return target{}, false
	}
	if inner, ok = strings.CutSuffix(strings.TrimSuffix(inner, "/"), "/notifications"); !ok {
		return target{}, false
	}
	name, account, named := strings.Cut(inner, "/")
	account, key, keyed := strings.Cut(account, "/")
	if !isSegment(name) || named && !isSegment(account) || keyed && !isSegment(key) {
		return target{}, false
	}
	if !named {
		account = defaultAccount
	}
	return target{provider: name, account: account, key: key}, true
}

// originForm removes scheme and authority of an absolute request target, which a server
// must accept (RFC 9112 section 3.2.2).
func originForm(raw string) string {
	for _, scheme := range []string{"http://", "https://"} {
		if len(raw) >= len(scheme) && strings.EqualFold(raw[:len(scheme)], scheme) {
			rest := raw[len(scheme):]
			if slash := strings.IndexAny(rest, "/?"); slash >= 0 {
				return rest[slash:]
			}
			return ""
		}
	}
	return raw
}

// isSegment reports whether s is a path segment (RFC 3986 section 3.3) that every parser
// reads as the same text: not empty, no dot segment, without escapes.
func isSegment(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
		return !isUnreserved(r) && !strings.ContainsRune("!$&'()*+,;=:@", r)
	})
}

// isUnreserved reports a character that needs no escape in a URL (RFC 3986 section 2.3).
func isUnreserved(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~", r)
}
