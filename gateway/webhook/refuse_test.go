package webhook_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"arauto/gateway/webhook"
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
		good, body := c.headers(secret), c.body("p")
		cases := []struct {
			about   string
			path    string
			headers map[string]string
			code    int
		}{
			{"unknown account", c.path("nobody", secret), good, 401100},
			{"account in capitals", c.path("DEFAULT", secret), good, 401100},
			{"other account's secret", c.path("acme", secret), good, 400105},
			{"prefix of the secret", c.path("default", secret[:len(secret)-1]), c.headers(secret[:len(secret)-1]), 400105},
			{"longer than the secret", c.path("default", secret+"x"), c.headers(secret + "x"), 400105},
			{"wrong secret", c.path("default", "wrong"), c.headers("wrong"), 400105},
			{"no credential", c.path("default", "wrong"), without(good, c.header), 401100},
			{"blank credential", c.path("default", "wrong"), with(good, c.header, " "), 401100},
			{"no key in the path", "/v1/" + c.name + "/default/notifications", without(good, c.header), 401100},
			{"no account, no key", "/v1/" + c.name + "/notifications", without(good, c.header), 401100},
		}
		for _, tc := range cases {
			want := tc.code
			if c.header == "" {
				want = 401100 // A wrong path key is answered like a missing credential.
				tc.headers = without(good, "")
			}
			if got := g.post(tc.path, tc.headers, body).code(t); got != want {
				t.Errorf("%s, %s: code %d, want %d", c.name, tc.about, got, want)
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
		body, first, second := c.body("p"), c.secret("default"), c.second("default")
		for _, tc := range []struct {
			one, two string
			code     int
		}{
			{first, first, 200}, {second, second, 200}, {first, second, 400105}, {first, "", 400105}, {"", first, 400105},
			{"wrong", "wrong", 400105}, {"", "", 401100},
		} {
			r := g.raw(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
				c.path("default", ""), c.header, tc.one, c.header, tc.two, len(body), body))
			if got := r.code(t); got != tc.code {
				t.Errorf("%s, %q and %q: code %d, want %d", c.name, tc.one, tc.two, got, tc.code)
			}
		}
	}
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
			if got := g.post(c.path("default", secret), with(c.headers(secret), "content-encoding", coding), c.body("p")).code(t); got != want {
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
			if got := g.post(c.path("default", secret), with(c.headers(secret), "content-type", kind), c.body("p")).code(t); got != 200 {
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
			c.body(""), c.body("."), c.body(".."), c.body("\xff\xfe"), "\x00", "\xef\xbb\xbf\xef\xbb\xbf" + c.body("p"), c.body("a\xe3b"),
			strings.Replace(c.body("p"), "{", `{"payment":"q","referenceId":"q","order":"q","data":{"merchantChargeId":"q"},`, 1),
		}
		if c.form {
			bodies = []string{
				"", "&&&", "=", "null", "[]", "{}", "token_transaction=", "token_transaction=.", "token_transaction=%2E%2E",
				"token_transaction=a&token_transaction=b", manyKeys(100000)[:200000],
			}
		}
		for _, body := range bodies {
			secret := c.secret("default")
			if got := g.post(c.path("default", secret), c.headers(secret), body).code(t); got != 400103 {
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
			secret := c.secret("default")
			if got := g.post(c.path("default", secret), c.headers(secret), body).code(t); got != 413100 {
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
		body += strings.Repeat(" ", size-len(body))
		if got := g.post(c.path("default", ""), c.headers(c.secret("default")), body).code(t); got != want {
			t.Errorf("%d bytes: code %d, want %d", size, got, want)
		}
		chunked := g.do(http.MethodPost, c.path("default", ""), c.headers(c.secret("default")), chunks{strings.NewReader(body)})
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
	g := start(t, func(o *webhook.Options) { o.BodyLimit = 1000 })
	huge, small := strings.Repeat("x", 1001), "x"
	for _, c := range callers(t) {
		secret := c.secret("default")
		coded := with(c.headers("wrong"), "content-encoding", "br")
		steps := []struct {
			method, path string
			headers      map[string]string
			body         string
			code         int
		}{
			{"GET", "/v1/nobody/notifications", coded, huge, 404100},
			{"GET", c.path("nobody", "wrong"), coded, huge, 405100},
			{"POST", c.path("nobody", "wrong"), coded, huge, 413100},
			{"POST", c.path("nobody", "wrong"), coded, small, 401100},
			{"POST", c.path("default", "wrong"), coded, small, 400105},
			{"POST", c.path("default", secret), with(c.headers(secret), "content-encoding", "br"), small, 415100},
			{"POST", c.path("default", secret), with(c.headers(secret), "content-encoding", "gzip"), small, 400103},
			{"POST", c.path("default", secret), c.headers(secret), small, 400103},
			{"POST", c.path("default", secret), c.headers(secret), c.body("p"), 200},
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
				if got := g.do(step.method, step.path, step.headers, content).code(t); got != want {
					t.Errorf("%s, step %d by %s: code %d, want %d", c.name, i, body, got, want)
				}
			}
		}
	}
}
