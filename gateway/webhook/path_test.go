package webhook

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPathNamesProviderAccountAndKey(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]target{
		"/v1/picpay/notifications":                       {"picpay", "default", ""},
		"/v1/picpay/acme/notifications":                  {"picpay", "acme", ""},
		"/v1/yapay/acme/k-_.~1/notifications":            {"yapay", "acme", "k-_.~1"},
		"/v1/picpay/notifications?a=b?c=/d":              {"picpay", "default", ""},
		"/v1/picpay/notifications/":                      {"picpay", "default", ""},
		"/v1/picpay/acme/notifications/?a=/":             {"picpay", "acme", ""},
		"/v1/yapay/acme/key/notifications/":              {"yapay", "acme", "key"},
		"/v1/notifications/notifications":                {"notifications", "default", ""},
		"http://gateway.example:80/v1/p/notifications":   {"p", "default", ""},
		"HTTPS://u@gateway.example/v1/p/a/notifications": {"p", "a", ""},
	} {
		if got, ok := parse([]byte(path)); !ok || got != want {
			t.Errorf("%s: %+v, %t", path, got, ok)
		}
	}
}

func TestOtherPathsAreRefused(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"", "*", "v1/p/notifications", "/v1/p/notifications//", "/v1/p//notifications/", "/v1/p/notifications/.", "/v1/p/notifications%2F", "/v1/p/notifications/#x", "/v1/p/notifications#x", "/v1/p%2Fnotifications",
		"/v1/p/a%2fb/notifications", "/v1/p/a%00/notifications", "/v1/p/a\x00/notifications", "/v1/p/a b/notifications",
		"/v1/p/ação/notifications", "/v1/p/a\\b/notifications", "/v1/p/a;/b/c/notifications", "http://x", "http://x?/v1/p/notifications",
		"http:///v1/p/notifications/x", "//v1/p/notifications", "/v1/p/./notifications", "/v1/p/..//notifications",
	} {
		if got, ok := parse([]byte(path)); ok {
			t.Errorf("%q is %+v", path, got)
		}
	}
}

func TestPathIsParsedAsItWasWritten(t *testing.T) {
	t.Parallel()
	name := rapid.StringMatching(`[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,20}`)
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(name, 1, 3).Draw(t, "names")
		if len(names) == 1 {
			names = append(names, "default")
		}
		got, ok := parse([]byte("/v1/" + strings.Join(names, "/") + "/notifications"))
		if len(names) == 2 {
			names = append(names, "")
		}
		if !ok || got != (target{names[0], names[1], names[2]}) {
			t.Fatalf("%v became %+v, %t", names, got, ok)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/v1/picpay/notifications", "/v1/picpay/notifications/", "/v1/yapay/acme/key/notifications?x", "http://h/v1/p/notifications", "/v1//x", "/v1/%2e/notifications", "*", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, ok := parse(raw)
		if !ok {
			return
		}
		for _, part := range []string{got.provider, got.account, got.key} {
			if strings.ContainsAny(part, "/%?#\\ \r\n\x00") || part == "." || part == ".." {
				t.Errorf("%q has the part %q", raw, part)
			}
		}
		if got.provider == "" || got.account == "" {
			t.Errorf("%q has an empty part: %+v", raw, got)
		}
		path := "/v1/" + got.provider + "/" + got.account + "/notifications"
		if got.key != "" {
			path = "/v1/" + got.provider + "/" + got.account + "/" + got.key + "/notifications"
		}
		if again, ok := parse([]byte(path)); !ok || again != got {
			t.Errorf("%q is %+v, and %q is %+v", raw, got, path, again)
		}
	})
}

// parse parses the path of a raw request target.
func parse(raw []byte) (target, bool) {
	path, _ := splitTarget(raw)
	return parsePath(path)
}
