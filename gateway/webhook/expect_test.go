package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/webhook"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// signer is a provider that signs the body. A body is a payment id, with spaces after it.
func signer() provider.Provider {
	return provider.Provider{
		Name:       "signer",
		Vocabulary: map[order.Kind]map[string]order.Status{order.Payment: {}},
		SignsBody:  true,
		Verify: func(w provider.Webhook, secrets []string) (int, error) {
			given := w.Header.Values("x-signature")
			if len(given) == 0 {
				return 0, provider.ErrNoCredential
			}
			for which, secret := range secrets {
				if given[0] == signature(secret, string(w.Body)) {
					return which, nil
				}
			}
			return 0, provider.ErrBadCredential
		},
		Read: provider.One(func(w provider.Webhook) (provider.Notice, error) {
			id := strings.TrimSpace(string(w.Body))
			if id == "" {
				return provider.Notice{}, provider.ErrInvalid
			}
			return provider.Notice{Kind: order.Payment, Payment: id}, nil
		}),
		Payload: func(provider.Target) (order.Fact, error) { return order.Fact{}, nil },
	}
}

func signature(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

// signed returns a raw, correct request of the signer.
func signed(body, more string) string {
	return fmt.Sprintf("POST /v1/signer/notifications HTTP/1.1\r\nHost: x\r\nX-Signature: %s\r\n%sContent-Length: %d\r\n\r\n%s",
		signature(caller{name: "signer"}.secret("default"), body), more, len(body), body)
}

// TestRefusedByTheHeaderWithoutTheBody sends headers only. The answer comes long before the
// read timeout, and without 100 Continue.
func TestRefusedByTheHeaderWithoutTheBody(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.ReadTimeout = time.Minute })
	h := head("HTTP/1.1")
	for about, tc := range map[string]struct {
		header string
		code   int
	}{
		"no path":          {strings.Replace(h, "sandbox", "nobody", 1), 404100},
		"wrong method":     {strings.Replace(h, "POST", "PUT", 1), 405100},
		"too large":        {h + "Content-Length: 10000000\r\n", 413100},
		"no account":       {strings.Replace(h, "sandbox/", "sandbox/nobody/", 1), 401100},
		"no credential":    {strings.Replace(h, "Authorization", "X-Other", 1), 401100},
		"no path key":      {strings.Replace(h, "sandbox/", "yapay/default/wrong/", 1), 401100},
		"bad credential":   {strings.Replace(h, "Authorization: ", "Authorization: x", 1), 400105},
		"compressed":       {h + "Content-Encoding: gzip, gzip\r\n", 415100},
		"compressed yapay": {strings.Replace(h, "sandbox/", "yapay/default/"+caller{name: "yapay"}.secret("default")+"/", 1) + "Content-Encoding: br\r\n", 415100},
		"ambiguous":        {h + "Content-Length: 5\r\n", 400100},
	} {
		for _, framing := range []string{"Content-Length: 19\r\n", "Content-Length: 200000\r\n", "Transfer-Encoding: chunked\r\n"} {
			if tc.code == 413100 {
				framing = ""
			}
			for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
				conn, r := g.dial()
				fmt.Fprint(conn, tc.header+framing+expect+"\r\n")
				answer := next(t, r)
				if got := answer.code(t); got != tc.code || !answer.last {
					t.Errorf("%s, %q, %q: code %d, last %t", about, framing, expect, got, answer.last)
				}
				_ = conn.Close()
			}
		}
	}
	if n := len(g.stored()); n != 0 {
		t.Errorf("%d notifications are stored", n)
	}
}

func TestOverloadIsAnsweredWithoutTheBody(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) {
		o.ReadTimeout, o.Overloaded = time.Minute, func() bool { return true }
	})
	conn, r := g.dial()
	fmt.Fprint(conn, head("HTTP/1.1")+"Expect: 100-continue\r\nContent-Length: 19\r\n\r\n")
	if answer := next(t, r); answer.code(t) != 503100 || !answer.last || answer.header.Get("retry-after") == "" {
		t.Errorf("%+v", answer)
	}
}

func TestAuthenticatedClientGetsContinue(t *testing.T) {
	t.Parallel()
	set := provider.MustSet(append(append(provider.Set{}, providers.All...), signer())...)
	g := start(t, func(o *webhook.Options) { o.Providers, o.Credentials = set, options(t, set).Credentials })
	for about, text := range map[string]string{
		"by length":     request("p1", "Expect: 100-continue\r\n"),
		"in capitals":   request("p2", "Expect: 100-Continue \r\n"),
		"in chunks":     head("HTTP/1.1") + "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces,
		"signed":        signed("p3", "Expect: 100-continue\r\n"),
		"signed, wrong": strings.Replace(signed("p4", "Expect: 100-continue\r\n"), "X-Signature: ", "X-Signature: x", 1),
	} {
		conn, r := g.dial()
		header, body, _ := strings.Cut(text, "\r\n\r\n")
		fmt.Fprint(conn, header+"\r\n\r\n")
		if answer, err := http.ReadResponse(r, nil); err != nil || answer.StatusCode != http.StatusContinue {
			t.Fatalf("%s: expecting 100 Continue: %v", about, err)
		}
		fmt.Fprint(conn, body)
		want := 200
		if about == "signed, wrong" {
			want = 400105
		}
		if answer := next(t, r); answer.code(t) != want || answer.last {
			t.Errorf("%s: after 100 Continue: %+v", about, answer)
		}
	}
	// HTTP/1.0 has no 100 Continue, and a request without a body needs none.
	old := strings.Replace(request("p5", "Expect: 100-continue\r\n"), "HTTP/1.1", "HTTP/1.0", 1)
	none := head("HTTP/1.1") + "Expect: 100-continue\r\n\r\n"
	if a, b := g.raw(old).code(t), g.raw(none).code(t); a != 200 || b != 400103 {
		t.Errorf("in HTTP/1.0 code %d, without a body %d", a, b)
	}
	// After a pipelined request it comes in order.
	conn, r := g.dial()
	fmt.Fprint(conn, request("p6", "")+request("p7", "Expect: 100-continue\r\n"))
	first := next(t, r)
	between, err := http.ReadResponse(r, nil)
	if second := next(t, r); err != nil || between.StatusCode != http.StatusContinue || first.status != 200 || second.status != 200 {
		t.Errorf("%d, then %v, then %d", first.status, between, second.status)
	}
	refused := g.dialogue(request("p8", "") + strings.Replace(request("p9", "Expect: 100-continue\r\n"), "Authorization", "X-Other", 1))
	if len(refused) != 2 || refused[0].code(t) != 200 || refused[1].code(t) != 401100 || !refused[1].last {
		t.Errorf("a refused request after a refused one: %+v", refused)
	}
}

// TestUnauthenticatedClientKeepsNoConnection sends refused requests on a connection of
// their own, which is closed, and on one with authenticated requests, which stays open.
func TestUnauthenticatedClientKeepsNoConnection(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	unauthenticated := strings.Replace(request("x", ""), "Authorization", "X-Other", 1)
	for _, text := range []string{"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", unauthenticated} {
		if answers := g.dialogue(text + request("p", "")); len(answers) != 1 || !answers[0].last {
			t.Errorf("%q: %+v", text, answers)
		}
	}
	large := strings.Replace(unauthenticated, "Content-Length: ", "X: y\r\nContent-Length: 200", 1)
	var codes []int
	for _, answer := range g.dialogue(request("p1", "") + unauthenticated + request("p2", "") + large) {
		codes = append(codes, answer.code(t))
	}
	if fmt.Sprint(codes) != "[200 401100 200 401100]" {
		t.Errorf("on a connection that carries both: %v", codes)
	}
	if n := len(g.stored()); n != 2 {
		t.Errorf("%d notifications are stored, want 2", n)
	}
}

// TestUnauthenticatedBodiesHaveAMemoryLimit begins large bodies for a provider that signs
// the body, so that they are read before they are authenticated.
func TestUnauthenticatedBodiesHaveAMemoryLimit(t *testing.T) {
	t.Parallel()
	set := provider.MustSet(append(append(provider.Set{}, providers.All...), signer())...)
	g := start(t, func(o *webhook.Options) {
		o.Providers, o.Credentials = set, options(t, set).Credentials
		o.BodyMemory, o.ReadTimeout = 100<<10, time.Minute
	})
	large := strings.Repeat("x", 60<<10)
	begun := fmt.Sprintf("POST /v1/signer/notifications HTTP/1.1\r\nHost: x\r\nX-Signature: x\r\nContent-Length: %d\r\n\r\n%s", len(large)+1, large)
	first, _ := g.dial()
	fmt.Fprint(first, begun)
	testbench.Until(t, "bodies take memory", func() bool { return g.gauge("arauto_webhook_body_memory_bytes") > 50<<10 })
	second, r := g.dial()
	fmt.Fprint(second, begun)
	if answer := next(t, r); answer.code(t) != 503100 || !answer.last || answer.header.Get("retry-after") == "" {
		t.Errorf("a second large body: %+v", answer)
	}
	// Small bodies are read all the same.
	if got := g.raw(signed("p1"+strings.Repeat(" ", 8000), "")).code(t); got != 200 {
		t.Errorf("a small body: code %d", got)
	}
	// A closed connection frees its memory.
	_ = first.Close()
	testbench.Until(t, "a webhook is accepted", func() bool { return g.raw(signed("p2"+strings.Repeat(" ", 60<<10), "")).code(t) == 200 })
}
