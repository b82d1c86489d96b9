package webhook

import "strings"

// defaultAccount is the account of the path that names none.
const defaultAccount = "default"

// target is what a webhook's path names.
type target struct{ provider, account, key string }

// parsePath reads one of the three paths from the raw request target, with or
// without one slash at its end, which the panels of some providers add:
//
//	/v1/{provider}/notifications
//	/v1/{provider}/{account}/notifications
//	/v1/{provider}/{account}/{key}/notifications
//
// It normalises nothing. Two readers that normalise differently (a proxy and
// we) would see two different paths, so an empty or escaped segment, a dot
// segment, a second slash at the end or one segment too many is no path of ours.
// The query does not count.
func parsePath(raw []byte) (target, bool) {
	path, _, _ := strings.Cut(originForm(string(raw)), "?")
	inner, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return target{}, false
	}
	if inner, ok = strings.CutSuffix(strings.TrimSuffix(inner, "/"), "/notifications"); !ok {
		return target{}, false
	}
	name, account, named := strings.Cut(inner, "/")
	account, key, keyed := strings.Cut(account, "/")
	if !segment(name) || named && !segment(account) || keyed && !segment(key) {
		return target{}, false
	}
	if !named {
		account = defaultAccount
	}
	return target{provider: name, account: account, key: key}, true
}

// originForm drops scheme and authority of an absolute request target, which
// every server must accept (RFC 9112 section 3.2.2).
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

// segment reports whether s is a path segment (RFC 3986 section 3.3) that
// every reader takes for the same text: not empty, not a dot segment, without
// escapes.
func segment(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
		return !unreserved(r) && !strings.ContainsRune("!$&'()*+,;=:@", r)
	})
}

// unreserved are the characters that no URL ever needs to escape.
func unreserved(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~", r)
}
