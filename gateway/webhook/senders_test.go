package webhook_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/webhook"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// zipped returns text compressed by gzip.
func zipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return b.String()
}

// inParts returns a form as multipart/form-data with the boundary x.
func inParts(form string) string {
	var b strings.Builder
	for pair := range strings.SplitSeq(form, "&") {
		name, value, _ := strings.Cut(pair, "=")
		fmt.Fprintf(&b, "--x\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", name, value)
	}
	return b.String() + "--x--\r\n"
}

// TestReportedFormsOfWebhooksAreStored sends each form of a webhook that senders were
// reported to use.
func TestReportedFormsOfWebhooksAreStored(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	const parts = "multipart/form-data; boundary=x"
	type form struct{ about, header, value, body, slash string }
	for _, c := range callers(t) {
		secret := c.secret("default")
		body, id := c.body("102030"), "102030"
		forms := []form{
			{about: "a coding that is none", header: "content-encoding", value: "utf-8", body: body},
			{about: "gzip", header: "content-encoding", value: "gzip", body: zipped(t, body)},
			{about: "gzip in capitals, of a text in UTF-8", header: "content-encoding", value: "UTF-8, X-GZIP", body: zipped(t, body)},
			{about: "gzip behind a byte order mark", header: "content-encoding", value: "gzip", body: zipped(t, "\xef\xbb\xbf"+body)},
			{about: "a byte order mark", body: "\xef\xbb\xbf" + body},
			{about: "a trailing slash", body: body, slash: "/"},
		}
		switch {
		case c.form:
			forms = append(forms,
				form{about: "parts", header: "content-type", value: parts, body: inParts(body)},
				form{about: "Latin-1", body: body + "&transaction%5Bcustomer%5D=Jo\xe3o"})
		default:
			forms = append(forms,
				form{about: "a number for an id", body: strings.Replace(body, `"`+id+`"`, id, 1)},
				form{about: "Latin-1", body: "{\"note\":\"Jo\xe3o\"," + body[1:]})
		}
		if c.name == "picpay-checkout" {
			forms = append(forms, form{about: "no envelope", body: `{"merchantChargeId":"102030","status":"PAID","amount":10000}`})
		}
		var last uint64
		for _, f := range forms {
			w := c.sample(id)
			w.Body = []byte(f.body)
			target, headers, _ := c.signed("default", secret, w)
			if at, query, asked := strings.Cut(target, "?"); f.slash != "" && asked {
				target = at + f.slash + "?" + query
			} else {
				target += f.slash
			}
			if f.header != "" {
				headers = with(headers, f.header, f.value)
			}
			_, last = g.storedAfter(last)
			if got := g.post(target, headers, f.body).code(t); got != 200 {
				t.Errorf("%s, %s: code %d", c.name, f.about, got)
				continue
			}
			stored, _ := g.storedAfter(last)
			if len(stored) != 1 || document(t, stored[0]).Payment != id {
				t.Errorf("%s, %s: %d are stored", c.name, f.about, len(stored))
			}
		}
	}
}

func TestGzippedBodyHasTheLimitOfAnIdentityBody(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	g := start(t, func(o *webhook.Options) { o.BodyLimit = limit })
	c := caller{name: "sandbox", header: "authorization"}
	sized := func(size int) string { return `{"payment":"p"}` + strings.Repeat(" ", size-len(`{"payment":"p"}`)) }
	usual := zipped(t, sized(100))
	for about, tc := range map[string]struct {
		body string
		code int
	}{
		"the limit":                   {zipped(t, sized(limit)), 200},
		"one byte more":               {zipped(t, sized(limit+1)), 413100},
		"a bomb":                      {zipped(t, sized(64*limit)), 413100},
		"nothing":                     {"", 400103},
		"packed nothing":              {zipped(t, ""), 400103},
		"a header only":               {usual[:10], 400103},
		"a cut":                       {usual[:len(usual)-1], 400103},
		"a wrong sum":                 {usual[:len(usual)-8] + "\x00\x00\x00\x00" + usual[len(usual)-4:], 400103},
		"something behind it":         {usual + "{}", 400103},
		"two of them":                 {usual + zipped(t, " "), 400103},
		"packed twice":                {zipped(t, usual), 400103},
		"plain":                       {sized(100), 400103},
		"packed bytes over the limit": {strings.Repeat("x", limit+1), 413100},
	} {
		for _, way := range []string{"length", "chunks"} {
			var content io.Reader = strings.NewReader(tc.body)
			if way == "chunks" {
				content = chunks{strings.NewReader(tc.body)}
			}
			if got := g.do("POST", c.path("default", ""), with(c.headers(c.secret("default")), "content-encoding", "gzip"), content).code(t); got != tc.code {
				t.Errorf("%s by %s: code %d, want %d", about, way, got, tc.code)
			}
		}
	}
	if n := len(g.stored()); n != 2 {
		t.Errorf("%d notifications are stored, want 2", n)
	}
}

// TestDecompressedBytesCountInBodyMemory sends few bytes that are decompressed to more than
// BodyMemory.
func TestDecompressedBytesCountInBodyMemory(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.BodyMemory = 100 << 10 })
	c := caller{name: "sandbox", header: "authorization"}
	post := func(size int) int {
		return g.post(c.path("default", ""), with(c.headers(c.secret("default")), "content-encoding", "gzip"),
			zipped(t, `{"payment":"p"}`+strings.Repeat(" ", size))).code(t)
	}
	for _, tc := range [][2]int{{20 << 10, 200}, {200 << 10, 503100}, {20 << 10, 200}, {200 << 10, 503100}, {20 << 10, 200}} {
		if got := post(tc[0]); got != tc[1] { // Memory is freed after both codes.
			t.Errorf("%d bytes: code %d, want %d", tc[0], got, tc[1])
		}
	}
	if got := g.post(c.path("default", ""), c.headers(c.secret("default")), `{"payment":"p"}`+strings.Repeat(" ", 90<<10)).code(t); got != 200 {
		t.Errorf("a plain body of nearly all of BodyMemory: code %d", got)
	}
}

// TestSignatureCoversTheDecompressedBody sends bodies as a proxy does that compresses what
// the sender has signed.
func TestSignatureCoversTheDecompressedBody(t *testing.T) {
	t.Parallel()
	set := provider.MustSet(append(append(provider.Set{}, providers.All...), signer())...)
	g := start(t, func(o *webhook.Options) {
		o.Providers, o.Credentials = set, options(t, set).Credentials
		o.BodyLimit = 1000
	})
	for about, tc := range map[string]struct {
		signed, sent, coding string
		code                 int
	}{
		"the content is signed":      {"p-1", zipped(t, "p-1"), "gzip", 200},
		"the gzipped body is signed": {zipped(t, "p-1"), zipped(t, "p-1"), "gzip", 400105},
		"other content is signed":    {"p-1", zipped(t, "p-2"), "gzip", 400105},
		"a bomb":                     {"p-1", zipped(t, strings.Repeat("x", 100_000)), "gzip", 413100},
		"nothing of gzip":            {"", "p-1", "gzip", 400103},
		"nothing of gzip, of others": {"p-1", "p-1", "gzip", 400105},
		"another coding":             {"p-1", "p-1", "br", 415100},
		"another coding, of others":  {"p-2", "p-1", "br", 400105},
		"a coding that is none":      {"p-1", "p-1", "utf-8", 200},
	} {
		headers := map[string]string{"x-signature": signature(caller{name: "signer"}.secret("default"), tc.signed), "content-encoding": tc.coding}
		if got := g.post("/v1/signer/notifications", headers, tc.sent).code(t); got != tc.code {
			t.Errorf("%s: code %d, want %d", about, got, tc.code)
		}
	}
}

// FuzzGzip accepts only bodies that decompress to JSON within the limit.
func FuzzGzip(f *testing.F) {
	f.Add([]byte(zipped(f, `{"payment":"p"}`)))
	f.Add([]byte(zipped(f, strings.Repeat(" ", 5000))))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, packed []byte) {
		o, store := options(t, providers.All), &checkingPublisher{}
		o.Publisher, o.BodyLimit = store, 4<<10
		g, err := webhook.New(o)
		testbench.Must(t, err)
		c := caller{name: "sandbox"}
		p := &pipe{in: bytes.NewReader(fmt.Appendf(nil, "POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n"+
			"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", c.secret("default"), len(packed), packed))}
		_ = g.ServeConn(p)
		if store.problem != nil {
			t.Error(store.problem)
		}
		if len(packed) > o.BodyLimit {
			return
		}
		accepted := strings.HasPrefix(p.out.String(), "HTTP/1.1 200 ")
		from, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			if accepted {
				t.Error("what gzip did not make is accepted")
			}
			return
		}
		text, err := io.ReadAll(io.LimitReader(from, 4<<10+1))
		if accepted && (err != nil && !errors.Is(err, io.EOF) || len(text) > 4<<10 || !json.Valid(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))) {
			t.Errorf("%d bytes that are no webhook are accepted", len(text))
		}
	})
}

// TestSmallGzippedBodyIsReadWithoutBodyMemory takes BodyMemory by a large body that does
// not end.
func TestSmallGzippedBodyIsReadWithoutBodyMemory(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.BodyMemory, o.ReadTimeout = 100<<10, time.Minute })
	c := caller{name: "sandbox", header: "authorization"}
	large := strings.Repeat(" ", 90<<10)
	conn, _ := g.dial()
	fmt.Fprintf(conn, "POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s", c.secret("default"), len(large)+1, large)
	testbench.Until(t, "bodies take memory", func() bool { return g.gauge("arauto_webhook_body_memory_bytes") > 80<<10 })
	if got := g.post(c.path("default", ""), c.headers(c.secret("default")), `{"payment":"p"}`+large).code(t); got != 503100 {
		t.Errorf("another large body: code %d", got)
	}
	got := g.post(c.path("default", ""), with(c.headers(c.secret("default")), "content-encoding", "gzip"), zipped(t, `{"payment":"p"}`)).code(t)
	if got != 200 {
		t.Errorf("code %d", got)
	}
}

// TestSlowAuthenticatedBodiesAreEvicted begins bodies with one account's path key on as many
// connections as there are slots.
func TestSlowAuthenticatedBodiesAreEvicted(t *testing.T) {
	t.Parallel()
	const slots = 4
	g := start(t, func(o *webhook.Options) { o.MaxConnections, o.ReadTimeout = slots, 2*time.Minute })
	for range slots {
		conn, _ := g.dial()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbegun", "/v1/yapay/default/default-yapay-secret-one/notifications")
	}
	if got := g.raw(request("p", "")).code(t); got != 200 {
		t.Errorf("code %d", got)
	}
	// A second connection is evicted if the first keeps its slot for too long.
	if got := g.gauge("arauto_webhook_connections_evicted_total"); got < 1 || got > slots {
		t.Errorf("%v connections were evicted, want 1 to %d", got, slots)
	}
}
