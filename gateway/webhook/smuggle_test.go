package webhook_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"arauto/gateway/webhook"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// head is the header of an authenticated request, without its framing fields.
func head(protocol string) string {
	return "POST /v1/sandbox/notifications " + protocol + "\r\nHost: x\r\nAuthorization: " + caller{name: "sandbox"}.secret("default") + "\r\n"
}

// The body after head, by length and in chunks.
const (
	content = `{"payment":"first"}`
	pieces  = "13\r\n" + content + "\r\n0\r\n\r\n"
)

// dialogue sends text in one write and returns the answers until the server closes the
// connection, which must not be by a reset.
func (g *gateway) dialogue(text string) []reply {
	g.t.Helper()
	conn, r := g.dial()
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		g.t.Fatalf("%.60q: write: %v", text, err)
	}
	var all []reply
	for {
		if _, err := r.Peek(1); err == io.EOF {
			return all
		} else if err != nil {
			g.t.Fatalf("%.60q: after %d answers: %v", text, len(all), err)
		}
		all = append(all, next(g.t, r))
	}
}

// ambiguous returns requests with ambiguous framing, each with a body that one parser takes
// for all of it.
func ambiguous() map[string]string {
	h := head("HTTP/1.1")
	length := fmt.Sprintf("Content-Length: %d\r\n", len(content))
	long := fmt.Sprintf("Content-Length: %d\r\n", len(content)+len(request("smuggled", "Connection: close\r\n")))
	chunked := "Transfer-Encoding: chunked\r\n"
	return map[string]string{
		"length and chunks":               h + length + chunked + "\r\n" + pieces,
		"chunks and length":               h + chunked + length + "\r\n" + pieces,
		"length, chunked and empty":       h + "Content-Length: 0\r\n" + chunked + "\r\n" + pieces,
		"two lengths, the longer last":    h + length + long + "\r\n" + content,
		"two lengths, the shorter last":   h + long + length + "\r\n" + content,
		"the same length twice":           h + length + length + "\r\n" + content,
		"lengths in a list":               h + "Content-Length: 19, 19\r\n\r\n" + content,
		"two lengths, one has a space":    h + length + "Content-Length : 0\r\n\r\n" + content,
		"xchunked":                        h + "Transfer-Encoding: xchunked\r\n\r\n" + pieces,
		"identity":                        h + "Transfer-Encoding: identity\r\n" + length + "\r\n" + content,
		"gzip and chunked":                h + "Transfer-Encoding: gzip, chunked\r\n\r\n" + pieces,
		"chunked and identity":            h + "Transfer-Encoding: chunked, identity\r\n\r\n" + pieces,
		"chunked twice":                   h + chunked + chunked + "\r\n" + pieces,
		"empty coding":                    h + "Transfer-Encoding:\r\n" + length + "\r\n" + content,
		"chunked behind a vertical tab":   h + "Transfer-Encoding: \x0bchunked\r\n\r\n" + pieces,
		"chunked in quotes":               h + "Transfer-Encoding: \"chunked\"\r\n\r\n" + pieces,
		"chunks in HTTP/1.0":              head("HTTP/1.0") + "Connection: keep-alive\r\n" + chunked + "\r\n" + pieces,
		"chunked, space before colon":     h + "Transfer-Encoding : chunked\r\n" + length + "\r\n" + content,
		"chunked, tab before colon":       h + "Transfer-Encoding\t: chunked\r\n" + length + "\r\n" + content,
		"coding's name with a control":    h + "Transfer-Encoding\x0b: chunked\r\n" + length + "\r\n" + content,
		"length's name with a control":    h + "\x00Content-Length: 0\r\n" + length + "\r\n" + content,
		"name of nothing":                 h + ": x\r\n" + length + "\r\n" + content,
		"line without a colon":            h + "nonsense\r\n" + length + "\r\n" + content,
		"folded line":                     h + "X: a\r\n b\r\n" + length + "\r\n" + content,
		"folded line, with a tab":         h + "X: a\r\n\tb\r\n" + length + "\r\n" + content,
		"folded coding":                   h + length + "Transfer-Encoding:\r\n chunked\r\n\r\n" + content,
		"folded line that has a colon":    h + "X: a\r\n Content-Length: 0\r\n" + length + "\r\n" + content,
		"folded first line":               "POST /v1/sandbox/notifications HTTP/1.1\r\n X: a\r\nHost: x\r\n" + length + "\r\n" + content,
		"line feed alone":                 h + "X: a\n" + length + "\r\n" + content,
		"line feed alone at the end":      h + length + "\n" + content,
		"line feeds throughout":           strings.ReplaceAll(h+length+"\r\n", "\r\n", "\n") + content,
		"carriage return in a value":      h + "X: a\rTransfer-Encoding: chunked\r\n" + length + "\r\n" + content,
		"zero byte in a value":            h + "X: a\x00b\r\n" + length + "\r\n" + content,
		"negative length":                 h + "Content-Length: -19\r\n\r\n" + content,
		"length with a plus":              h + "Content-Length: +19\r\n\r\n" + content,
		"length in hexadecimal":           h + "Content-Length: 0x13\r\n\r\n" + content,
		"length with an underscore":       h + "Content-Length: 1_9\r\n\r\n" + content,
		"length of nothing":               h + "Content-Length:\r\n\r\n" + content,
		"length of two words":             h + "Content-Length: 1 9\r\n\r\n" + content,
		"length past 63 bits":             h + "Content-Length: 9223372036854775808\r\n\r\n" + content,
		"length that wraps at 64 bits":    h + "Content-Length: 18446744073709551635\r\n\r\n" + content,
		"two hosts":                       h + "Host: y\r\n" + length + "\r\n" + content,
		"no host":                         strings.Replace(h, "Host: x\r\n", "", 1) + length + "\r\n" + content,
		"HTTP/2.0":                        head("HTTP/2.0") + length + "\r\n" + content,
		"HTTP/1.10":                       head("HTTP/1.10") + length + "\r\n" + content,
		"protocol in lower case":          head("http/1.1") + length + "\r\n" + content,
		"space after the protocol":        head("HTTP/1.1 ") + length + "\r\n" + content,
		"carriage return in the target":   strings.Replace(h, " HTTP", "?\rX: HTTP", 1) + length + "\r\n" + content,
		"space in the target":             strings.Replace(h, " HTTP", "?a b HTTP", 1) + length + "\r\n" + content,
		"chunk size of no digits":         h + chunked + "\r\nzz\r\n" + content + "\r\n0\r\n\r\n",
		"chunk size in 0x":                h + chunked + "\r\n0x13\r\n" + content + "\r\n0\r\n\r\n",
		"negative chunk size":             h + chunked + "\r\n-13\r\n" + content + "\r\n0\r\n\r\n",
		"chunk size past 64 bits":         h + chunked + "\r\n10000000000000013\r\n" + content + "\r\n0\r\n\r\n",
		"chunk size, then line feed":      h + chunked + "\r\n13\n" + content + "\r\n0\r\n\r\n",
		"chunk longer than its size":      h + chunked + "\r\n12\r\n" + content + "\r\n0\r\n\r\n",
		"chunk shorter than its size":     h + chunked + "\r\n14\r\n" + content + "\r\n0\r\n\r\n",
		"chunk of which the end is short": h + chunked + "\r\n13\r\n" + content + "\n0\r\n\r\n",
		"chunk size of no line":           h + chunked + "\r\n\r\n" + content + "\r\n0\r\n\r\n",
		"chunk size behind a space":       h + chunked + "\r\n 13\r\n" + content + "\r\n0\r\n\r\n",
		"chunk size of two words":         h + chunked + "\r\n13 0\r\n" + content + "\r\n0\r\n\r\n",
		"chunk size with a plus":          h + chunked + "\r\n+13\r\n" + content + "\r\n0\r\n\r\n",
		"chunk size with an underscore":   h + chunked + "\r\n1_3\r\n" + content + "\r\n0\r\n\r\n",
		"chunk size of many zeros":        h + chunked + "\r\n0000000013\r\n" + content + "\r\n0\r\n\r\n",
		"chunk size, then two returns":    h + chunked + "\r\n13\r\r\n" + content + "\r\n0\r\n\r\n",
		"line feed in an extension":       h + chunked + "\r\n13;\n\r\n" + content + "\r\n0\r\n\r\n",
		"line feed ends an extension":     h + chunked + "\r\n13;a=b\n" + content + "\r\n0\r\n\r\n",
		"return in an extension":          h + chunked + "\r\n13;a\rb\r\n" + content + "\r\n0\r\n\r\n",
		"zero byte in an extension":       h + chunked + "\r\n13;a\x00\r\n" + content + "\r\n0\r\n\r\n",
		"last chunk, then line feed":      h + chunked + "\r\n" + pieces[:len(pieces)-4] + "\n\r\n",
		"line feed ends the trailers":     h + chunked + "\r\n" + pieces[:len(pieces)-2] + "\n",
		"line feed ends a trailer":        h + chunked + "\r\n" + pieces[:len(pieces)-2] + "X: y\n\r\n",
		"trailer without a colon":         h + chunked + "\r\n" + pieces[:len(pieces)-2] + "0\r\nX: y\r\n\r\n",
		"trailer, space before colon":     h + chunked + "\r\n" + pieces[:len(pieces)-2] + "X : y\r\n\r\n",
		"folded trailer":                  h + chunked + "\r\n" + pieces[:len(pieces)-2] + "X: y\r\n z\r\n\r\n",
	}
}

func TestAmbiguousFramingIsRefusedAndNothingFollows(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for about, first := range ambiguous() {
		answers := g.dialogue(first + request("smuggled", "Connection: close\r\n"))
		if len(answers) != 1 {
			t.Errorf("%s: %d answers, want 1: %+v", about, len(answers), answers)
			continue
		}
		if got := answers[0].code(t); got != 400100 || !answers[0].last {
			t.Errorf("%s: code %d, last %t", about, got, answers[0].last)
		}
	}
	for _, m := range g.stored() {
		t.Errorf("%s is stored", m.Subject)
	}
}

func TestAmbiguousFramingIsRefusedBeforeTheBody(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, lines := range []string{
		"Content-Length: 5\r\nContent-Length: 500\r\n", "Expect: 100-continue\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
	} {
		conn, r := g.dial()
		fmt.Fprint(conn, head("HTTP/1.1")+lines+"\r\n")
		if answer := next(t, r); answer.code(t) != 400100 || !answer.last {
			t.Errorf("%q: %d, last %t", lines, answer.status, answer.last)
		}
	}
	if n := g.metric("arauto_webhooks_total", "408100"); n != 0 {
		t.Errorf("%v requests ran out of time", n)
	}
}

// TestPlainChunksKeepTheConnection has requests after chunks that all parsers read alike.
func TestPlainChunksKeepTheConnection(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	chunked := head("HTTP/1.1") + "Transfer-Encoding: \tCHUNKED \r\n\r\n"
	bodies := []string{
		pieces, "1\r\n{\r\nA\r\n\"payment\":\r\n8\r\n\"first\"}\r\n0\r\n\r\n",
		"4000\r\n" + content + strings.Repeat(" ", 0x4000-len(content)) + "\r\n0\r\n\r\n",
	}
	var text strings.Builder
	for _, body := range bodies {
		text.WriteString(chunked + body)
	}
	text.WriteString(request("last", "Connection: close\r\n"))
	answers := g.dialogue(text.String())
	if len(answers) != len(bodies)+1 {
		t.Fatalf("%d answers: %+v", len(answers), answers)
	}
	for i, answer := range answers {
		if got := answer.code(t); got != 200 || answer.last != (i == len(bodies)) {
			t.Errorf("answer %d: code %d, last %t", i, got, answer.last)
		}
	}
	if n := len(g.stored()); n != len(answers) {
		t.Errorf("%d notifications are stored, want %d", n, len(answers))
	}
}

// TestOddChunksEndTheConnection is about extensions, trailers and leading zeros, which are
// allowed but which parsers skip differently.
func TestOddChunksEndTheConnection(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	inner := request("smuggled", "Connection: close\r\n")
	for i, body := range []string{
		"13;name=value\r\n" + content + "\r\n0\r\n\r\n",
		"13 \t;name=\"a;b\"\r\n" + content + "\r\n0\r\n\r\n",
		"13\r\n" + content + "\r\n0;last\r\n\r\n",
		"13  \r\n" + content + "\r\n0\r\n\r\n",
		"13\r\n" + content + "\r\n0\r\nX: y\r\nZ:\r\n\r\n",
		"0013\r\n" + content + "\r\n0\r\n\r\n",
		"13\r\n" + content + "\r\n000\r\n\r\n",
	} {
		answers := g.dialogue(head("HTTP/1.1") + "Transfer-Encoding: chunked\r\n\r\n" + body + inner)
		if len(answers) != 1 || answers[0].code(t) != 200 || !answers[0].last {
			t.Errorf("%q: %+v", body, answers)
		}
		if n := len(g.stored()); n != i+1 {
			t.Fatalf("%q: %d notifications are stored, want %d", body, n, i+1)
		}
	}
}

func TestCredentialInATrailerIsNone(t *testing.T) {
	t.Parallel()
	signing := signer()
	set := provider.MustSet(append(append(provider.Set{}, providers.All...), signing)...)
	g := start(t, func(o *webhook.Options) { o.Providers, o.Credentials = set, options(t, set).Credentials })
	for _, c := range append(callers(t), caller{name: signing.Name, header: "x-signature"}) {
		if c.header == "" {
			continue
		}
		target, headers, body := c.path("default", ""), c.headers(c.secret("default")), "p"
		if c.p.Sample.Sign != nil {
			target, headers, body = c.about("default", c.secret("default"), "p")
		}
		credential := c.header + ": " + headers[c.header] + "\r\n"
		for _, declared := range []string{"", "Trailer: " + c.header + "\r\n"} {
			answers := g.dialogue(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n%s\r\n",
				target, declared, len(body), body, credential))
			// RFC 9110 section 6.5.1 forbids Authorization in a Trailer field.
			if len(answers) != 1 || answers[0].code(t) != 401100 && (declared == "" || answers[0].code(t) != 400100) || !answers[0].last {
				t.Errorf("%s: %+v", c.name, answers)
			}
		}
	}
	if n := len(g.stored()); n != 0 {
		t.Errorf("%d notifications are stored", n)
	}
}

func TestTargetWithAnotherHostIsServedByItsPath(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	other := strings.Replace(request("p1", ""), " /v1", " http://other.example/v1", 1)
	answers := g.dialogue(other + request("p2", "") + request("p3", "Connection: close\r\n"))
	if len(answers) != 3 {
		t.Fatalf("%d answers, want 3", len(answers))
	}
	for i, answer := range answers {
		if got := answer.code(t); got != 200 {
			t.Errorf("answer %d: code %d", i, got)
		}
	}
	if n := len(g.stored()); n != 3 {
		t.Errorf("%d notifications are stored, want 3", n)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	var text strings.Builder
	var want []int
	for i := range 60 {
		switch i % 4 {
		case 1:
			text.WriteString(strings.Replace(request("x", ""), "Authorization", "X-Authorization", 1))
			want = append(want, 401100)
		case 3:
			text.WriteString(strings.Replace(request("x", ""), `"payment"`, `"paymont"`, 1))
			want = append(want, 400103)
		default:
			text.WriteString(request(fmt.Sprintf("p-%d", i), ""))
			want = append(want, 200)
		}
	}
	// Nothing after an ambiguous request is served.
	want = append(want, 400100)
	text.WriteString(ambiguous()["length and chunks"])
	text.WriteString(request("smuggled", "Connection: close\r\n"))
	answers := g.dialogue(text.String())
	if len(answers) != len(want) {
		t.Fatalf("%d answers, want %d", len(answers), len(want))
	}
	for i, answer := range answers {
		if got := answer.code(t); got != want[i] || answer.last != (i == len(want)-1) {
			t.Errorf("answer %d: code %d, want %d; last %t", i, got, want[i], answer.last)
		}
	}
	all := g.stored()
	if len(all) != 30 {
		t.Fatalf("%d notifications are stored, want 30", len(all))
	}
	for i, m := range all {
		if got, want := document(t, m).Payment, fmt.Sprintf("p-%d", i*2); got != want {
			t.Errorf("notification %d is of %s, want %s", i, got, want)
		}
	}
}

func TestPipelinedAnswersWaitUntilTheirNotificationIsDurable(t *testing.T) {
	t.Parallel()
	g, p := gated(t, 0)
	conn, r := g.dial()
	fmt.Fprint(conn, request("p1", "")+request("p2", "")+request("p3", "Connection: close\r\n"))
	heard := make(chan reply, 4)
	go func() {
		defer close(heard)
		for {
			answer, err := http.ReadResponse(r, nil)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			heard <- reply{status: answer.StatusCode}
		}
	}()
	for range 3 {
		<-p.entered
		if stored := len(g.stored()); len(heard) > stored {
			t.Errorf("%d answers with %d notifications stored", len(heard), stored)
		}
		p.open <- struct{}{}
		<-p.left
	}
	var codes []int
	for answer := range heard {
		codes = append(codes, answer.status)
	}
	if len(g.stored()) != 3 || fmt.Sprint(codes) != "[200 200 200]" {
		t.Errorf("answers %v with %d notifications stored", codes, len(g.stored()))
	}
}
