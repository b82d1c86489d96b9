package webhook

import "strings"

// defaultAccount is the account of the path that names none.
const defaultAccount = "default"

// target is what a webhook's path names.
type target struct{ provider, account, key string }

// parsePath reads one of the three paths from the raw request target:
//
//	/v1/{provider}/notifications
//	/v1/{provider}/{account}/notifications
//	/v1/{provider}/{account}/{key}/notifications
//
// It normalises nothing. Two readers that normalise differently (a proxy and
// we) would see two different paths, so an empty or escaped segment, a dot
// segment, a trailing slash or one segment too many is no path of ours. The
// query does not count.
func parsePath(raw []byte) (target, bool) {
	path, _, _ := strings.Cut(originForm(string(raw)), "?")
	steps := strings.SplitN(path, "/", 7)
	if len(steps) < 4 || len(steps) > 6 || steps[0] != "" || steps[1] != "v1" || steps[len(steps)-1] != "notifications" {
		return target{}, false
	}
	names := steps[2 : len(steps)-1]
	for _, name := range names {
		if !segment(name) {
			return target{}, false
		}
	}
	t := target{provider: names[0], account: defaultAccount}
	if len(names) > 1 {
		t.account = names[1]
	}
	if len(names) > 2 {
		t.key = names[2]
	}
	return t, true
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
