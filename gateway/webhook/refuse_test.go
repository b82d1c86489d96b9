package webhook_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"arauto/gateway/webhook"
	"arauto/schemas/provider"
)

// with returns the headers with a further one.
func with(headers map[string]string, name, value string) map[string]string {
	more := maps.Clone(headers)
	more[name] = value
	return more
}

func without(headers map[string]string, name string) map[string]string {
	fewer := maps.Clone(headers)
	delete(fewer, name)
	return fewer
}

func TestUnknownPathIsNotFound(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	c := callers(t)[0]
	paths := []string{
		"/", "/v1", "/v1/", "/v1/sandbox", "/v1/notifications", "/v1//notifications", "/v1/nobody/notifications",
		"/v2/sandbox/notifications", "/v1/sandbox/notifications//", "/v1/sandbox//notifications/", "//v1/sandbox/notifications", "/v1//sandbox/notifications",
		"/v1/sandbox//notifications", "/v1/%73andbox/notifications", "/v1/sandbox/%64efault/notifications",
		"/v1/sandbox/./notifications", "/v1/sandbox/../notifications", "/v1/x/../sandbox/notifications",
		"/v1/SANDBOX/notifications", "/V1/sandbox/notifications", "/v1/sandbox/Notifications",
		"/v1/sandbox/default/key/more/notifications", "/v1/sandbox/default/notifications.json",
		// Providers that sign have no path with a key.
		"/v1/sandbox/default/" + c.secret("default") + "/notifications",
	}
	for _, path := range paths {
		for _, method := range []string{http.MethodPost, http.MethodGet, "PURGE"} {
			r := g.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 2\r\n\r\n{}", method, path, c.secret("default")))
			if got := r.code(t); got != 404100 {
				t.Errorf("%s %s: code %d", method, path, got)
			}
		}
	}
	if len(g.stored()) != 0 {
		t.Error("something is stored")
	}
}

// raw sends a raw request and returns its answer.
func (g *gateway) raw(request string) reply {
	g.t.Helper()
	conn, r := g.dial()
	defer conn.Close()
	if _, err := conn.Write([]byte(request)); err != nil {
		g.t.Fatal(err)
	}
	return next(g.t, r)
}

func TestOtherMethodsAreNotAllowed(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, c := range callers(t) {
		for _, path := range []string{c.path("default", c.secret("default")), c.path("nobody", "wrong"), "/v1/" + c.name + "/notifications"} {
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch, "PROPFIND", "post"} {
				r := g.do(method, path, nil, strings.NewReader(c.body("p")))
				if got := r.code(t); got != 405100 || r.header.Get("allow") != "POST" {
					t.Errorf("%s %s: code %d, allow %q", method, path, got, r.header.Get("allow"))
				}
			}
			if r := g.do(http.MethodHead, path, nil, nil); r.status != http.StatusMethodNotAllowed || r.body != "" {
				t.Errorf("HEAD %s: %d %q", path, r.status, r.body)
			}
		}
	}
}

func TestCredentialsAreChecked(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, c := range callers(t) {
		secret := c.secret("default")
		target, good, _ := c.about("default", secret, "p")
		_, query, _ := strings.Cut(target, "?")
		cases := []struct {
			about           string
			account, secret string
			change          func(headers map[string]string) map[string]string
			code            int
		}{
			{"unknown account", "nobody", secret, nil, 401100},
			{"account in capitals", "DEFAULT", secret, nil, 401100},
			{"other account's secret", "acme", secret, nil, 400105},
			{"prefix of the secret", "default", secret[:len(secret)-1], nil, 400105},
			{"longer than the secret", "default", secret + "x", nil, 400105},
			{"wrong secret", "default", "wrong", nil, 400105},
			{"no credential", "default", "wrong", func(h map[string]string) map[string]string { return without(h, c.header) }, 401100},
			{"blank credential", "default", "wrong", func(h map[string]string) map[string]string { return with(h, c.header, " ") }, 401100},
		}
		for _, tc := range cases {
			target, headers, body := c.about(tc.account, tc.secret, "p")
			want := tc.code
			if tc.change != nil && c.header != "" {
				headers = tc.change(headers)
			}
			if c.header == "" {
				want = 401100 // A wrong path key is answered like a missing credential.
			}
			if got := g.post(target, headers, body).code(t); got != want {
				t.Errorf("%s, %s: code %d, want %d", c.name, tc.about, got, want)
			}
		}
		for _, path := range []string{"/v1/" + c.name + "/default/notifications", "/v1/" + c.name + "/notifications"} { // Without a key.
			if got := g.post(path+"?"+query, without(good, c.header), c.body("p")).code(t); got != 401100 {
				t.Errorf("%s: code %d", path, got)
			}
		}
	}
	if len(g.stored()) != 0 {
		t.Error("something is stored")
	}
}

func TestTwoCredentialsMustBeEqual(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, c := range callers(t) {
		if c.header == "" {
			continue
		}
		target, headers, body := c.about("default", "", "p")
		rest := lines(without(headers, c.header))
		for _, tc := range []struct {
			one, two string
			code     int
		}{
			{"first", "first", 200}, {"second", "second", 200}, {"first", "second", 400105}, {"first", "", 400105}, {"", "first", 400105},
			{"wrong", "wrong", 400105}, {"", "", 401100},
		} {
			credential := func(which string) string {
				secret := map[string]string{"first": c.secret("default"), "second": c.second("default"), "wrong": "wrong"}[which]
				if secret == "" {
					return ""
				}
				_, headers, _ := c.about("default", secret, "p")
				return headers[c.header]
			}
			r := g.raw(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%s%s: %s\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
				target, rest, c.header, credential(tc.one), c.header, credential(tc.two), len(body), body))
			if got := r.code(t); got != tc.code {
				t.Errorf("%s, %q and %q: code %d, want %d", c.name, tc.one, tc.two, got, tc.code)
			}
		}
	}
}

// lines are headers as they are sent.
func lines(headers map[string]string) string {
	var b strings.Builder
	for name, value := range headers {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	return b.String()
}

func TestNotPermittedHasOneAnswer(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	answers := map[string]string{}
	for _, c := range callers(t) {
		headers := map[string]string{"content-type": "application/json"}
		for _, path := range []string{
			c.path("default", "wrong"), c.path("nobody", "wrong"), c.path("nobody", c.secret("default")),
			c.path("acme", c.secret("default")), "/v1/" + c.name + "/notifications",
		} {
			r := g.post(path, headers, c.body("p"))
			r.header.Del("date") // The clock moves on between two requests.
			answers[fmt.Sprint(r.status, r.header, r.body)] = path
		}
	}
	if len(answers) != 1 {
		t.Errorf("401 has %d forms: %v", len(answers), answers)
	}
	for answer := range answers {
		if !strings.HasSuffix(answer, `{"status":"error","code":401100,"message":"Operation not permitted."}`) {
			t.Errorf("answer %s", answer)
		}
	}
}

func TestContentEncodingMayBeUnknownOrGzip(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, c := range callers(t) {
		for coding, want := range map[string]int{
			"identity": 200, "Identity": 200, "": 200, "utf-8": 200, "UTF-8": 200, "none": 200, "binary": 200, "8bit": 200, "7bit, utf8": 200, "*": 200,
			"br": 415100, "deflate": 415100, "zstd": 415100, "Compress": 415100, "utf-8, br": 415100, "gzip, br": 415100, "gzip, gzip": 415100,
			"gzip": 400103, // The body is not gzip.
		} {
			secret := c.secret("default")
			target, headers, body := c.about("default", secret, "p")
			if got := g.post(target, with(headers, "content-encoding", coding), body).code(t); got != want {
				t.Errorf("%s, coding %q: code %d, want %d", c.name, coding, got, want)
			}
		}
	}
}

func TestAnyContentTypeIsAccepted(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, c := range callers(t) {
		for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "multipart/form-data; boundary=x", "nonsense", ""} {
			if c.form && kind != "" {
				kind = "application/x-www-form-urlencoded; charset=UTF-8" // Yapay's body is its type.
			}
			secret := c.secret("default")
			target, headers, body := c.about("default", secret, "p")
			if got := g.post(target, with(headers, "content-type", kind), body).code(t); got != 200 {
				t.Errorf("%s, type %q: code %d", c.name, kind, got)
			}
		}
	}
}

func TestBodyWithoutAPaymentIsInvalid(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, c := range callers(t) {
		bodies := []string{
			"", " ", "null", "[]", `""`, "17", "true", "{", "}", "{}", c.body("p")[:len(c.body("p"))/2], c.body("p") + "{",
			`{"payment":{},"referenceId":[],"order":{},"data":7}`, strings.Repeat("[", 100000), strings.Repeat(`{"a":`, 20000),
			"\x00", "\xef\xbb\xbf\xef\xbb\xbf" + c.body("p"), strings.Replace(c.body("p"), "{", `{"k":1,"k":2,`, 1),
		}
		if !c.query {
			bodies = append(bodies, c.body(""), c.body("."), c.body(".."), c.body("\xff\xfe"), c.body("a\xe3b"))
		}
		if c.form {
			bodies = []string{
				"", "&&&", "=", "null", "[]", "{}", "token_transaction=", "token_transaction=.", "token_transaction=%2E%2E",
				"token_transaction=a&token_transaction=b", manyKeys(100000)[:200000],
			}
		}
		for _, body := range bodies {
			if _, err := c.p.Read(provider.Webhook{Query: c.sample("p").Query, Header: provider.HeaderMap{}, Body: []byte(body)}); err == nil && c.query {
				continue // Its query names the payment.
			}
			if got := g.post(c.sending("default", c.secret("default"), body)).code(t); got != 400103 {
				t.Errorf("%s, body %.60q: code %d", c.name, body, got)
			}
		}
	}
	if n := len(g.stored()); n != 0 {
		t.Errorf("%d notifications are stored", n)
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	b.WriteString("token_transaction=t")
	for i := range n {
		fmt.Fprintf(&b, "&k%d=v", i)
	}
	return b.String()
}

func TestHugeBodyIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, c := range callers(t) {
		for about, body := range map[string]string{
			"10 MB": strings.Repeat("x", 10<<20), "100k keys": manyKeys(100000), "one byte over": strings.Repeat("x", 256<<10+1),
		} {
			if got := g.post(c.sending("default", c.secret("default"), body)).code(t); got != 413100 {
				t.Errorf("%s, %s: code %d", c.name, about, got)
			}
		}
	}
}

func TestBodyOfExactlyTheLimitIsRead(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.BodyLimit = 64 << 10 })
	c := callers(t)[0]
	for size, want := range map[int]int{64 << 10: 200, 64<<10 + 1: 413100} {
		body := c.body("p")
		target, headers, body := c.sending("default", c.secret("default"), body+strings.Repeat(" ", size-len(body)))
		if got := g.post(target, headers, body).code(t); got != want {
			t.Errorf("%d bytes: code %d, want %d", size, got, want)
		}
		chunked := g.do(http.MethodPost, target, headers, chunks{strings.NewReader(body)})
		if got := chunked.code(t); got != want {
			t.Errorf("%d bytes in chunks: code %d, want %d", size, got, want)
		}
	}
}

// chunks hides the length of a body, so that it is sent in chunks.
type chunks struct{ r *strings.Reader }

func (c chunks) Read(p []byte) (int, error) { return c.r.Read(p) }

// TestChecksAreInOrder begins with a request that breaks every rule, and mends one at a
// time.
func TestChecksAreInOrder(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.BodyLimit = 4000 })
	huge, small := strings.Repeat("x", 4001), "x"
	for _, c := range callers(t) {
		secret := c.secret("default")
		coded := map[string]string{"content-encoding": "br"}
		steps := []struct {
			method, account, secret string
			headers                 map[string]string
			body                    string
			code                    int
		}{
			{"GET", "", "wrong", coded, huge, 404100},
			{"GET", "nobody", "wrong", coded, huge, 405100},
			{"POST", "nobody", "wrong", coded, huge, 413100},
			{"POST", "nobody", "wrong", coded, small, 401100},
			{"POST", "default", "wrong", coded, small, 400105},
			{"POST", "default", secret, coded, small, 415100},
			{"POST", "default", secret, map[string]string{"content-encoding": "gzip"}, small, 400103},
			{"POST", "default", secret, nil, small, 400103},
			{"POST", "default", secret, nil, c.body("p"), 200},
		}
		for i, step := range steps {
			want := step.code
			if c.header == "" && want == 400105 {
				want = 401100
			}
			for _, body := range []string{"length", "chunks"} {
				var content io.Reader = strings.NewReader(step.body)
				if body == "chunks" {
					content = chunks{strings.NewReader(step.body)}
					if want == 413100 {
						want = 401100 // The length of chunks is known only after that.
					}
				}
				target, headers, _ := c.sending(step.account, step.secret, step.body)
				maps.Copy(headers, step.headers)
				if step.account == "" {
					target = "/v1/nobody/notifications"
				}
				if got := g.do(step.method, target, headers, content).code(t); got != want {
					t.Errorf("%s, step %d by %s: code %d, want %d", c.name, i, body, got, want)
				}
			}
		}
	}
}
