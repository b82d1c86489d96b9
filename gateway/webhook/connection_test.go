package webhook_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/webhook"
)

// request returns a raw, correct request of the sandbox.
func request(payment, more string) string {
	c := caller{name: "sandbox"}
	body := `{"payment":"` + payment + `"}`
	return fmt.Sprintf("POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%sContent-Length: %d\r\n\r\n%s",
		c.secret("default"), more, len(body), body)
}

func TestClientThatIsSendingGetsItsAnswer(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	const size = 10 << 20
	body := bytes.Repeat([]byte("x"), size)
	var chunked bytes.Buffer
	for range 10 {
		fmt.Fprintf(&chunked, "%x\r\n%s\r\n", 1<<20, body[:1<<20])
	}
	chunked.WriteString("0\r\n\r\n")
	length := fmt.Sprintf("Content-Length: %d\r\n\r\n", size)
	for about, tc := range map[string]struct {
		first string
		body  []byte
		code  int
	}{
		"by length":             {"POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\n" + length, body, 413100},
		"in chunks":             {head("HTTP/1.1") + "Transfer-Encoding: chunked\r\n\r\n", chunked.Bytes(), 413100},
		"to no path":            {"POST /v1/nobody/notifications HTTP/1.1\r\nHost: x\r\n" + length, body, 404100},
		"in chunks to no path":  {"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", chunked.Bytes(), 404100},
		"with the wrong method": {"PUT /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\n" + length, body, 405100},
		"as a header":           {"POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nX: ", body, 431100},
		"after a broken header": {"POST /v1/sandbox/notifications HTTP/1.1\r\nHost : x\r\n\r\n", body, 400100},
	} {
		conn, r := g.dial()
		// The whole request is sent before the answer is read: a reset would lose the
		// answer or fail the write.
		if _, err := conn.Write(append([]byte(tc.first), tc.body...)); err != nil {
			t.Errorf("%s: write: %v", about, err)
			continue
		}
		answer := next(t, r)
		if got := answer.code(t); got != tc.code || !answer.last {
			t.Errorf("%s: code %d, last %t", about, got, answer.last)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("%s: the connection ends with %v, want EOF", about, err)
		}
	}
}

func TestDeclaredLengthIsRefusedBeforeTheBody(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.ReadTimeout = time.Minute })
	if got := g.raw("POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n{}").code(t); got != 413100 {
		t.Errorf("code %d", got)
	}
}

func TestLingeringCloseIsBounded(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	conn, _ := g.dial()
	fmt.Fprintf(conn, "POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", int64(1)<<40)
	block := make([]byte, 1<<20)
	for sent := 0; sent < 1<<30; sent += len(block) {
		if _, err := conn.Write(block); err != nil {
			return
		}
	}
	t.Error("a gigabyte was taken from a refused client")
}

func TestHeaderFloodIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	many := strings.Repeat("X-Flood: y\r\n", 10000)
	if got := g.raw("POST /v1/sandbox/notifications HTTP/1.1\r\n" + many + "\r\n").code(t); got != 431100 {
		t.Errorf("10,000 headers: code %d", got)
	}
	if got := g.raw("POST /" + strings.Repeat("a", 20000) + " HTTP/1.1\r\n\r\n").code(t); got != 431100 {
		t.Errorf("a path of 20,000 characters: code %d", got)
	}
	if got := g.raw(request("p", strings.Repeat("X-Some: y\r\n", 1000))).code(t); got != 200 {
		t.Errorf("1,000 headers within the limit: code %d", got)
	}
}

func TestMalformedRequestIsAnsweredInTheEnvelope(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	head := head("HTTP/1.1")
	for _, request := range []string{
		"nonsense\r\n\r\n", head + "Content-Length: -5\r\n\r\n", head + "Content-Length: five\r\n\r\nx",
		head + "Content-Length: 99999999999999999999\r\n\r\n",
		head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", head + "Transfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
	} {
		if got := g.raw(request).code(t); got != 400100 {
			t.Errorf("%.60q: code %d", request, got)
		}
	}
}

func TestTruncatedBodyIsMalformed(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, body := range []string{"Content-Length: 500\r\n\r\n{", "Content-Length: 50000\r\n\r\n{",
		"Content-Length: 20000\r\n\r\n" + strings.Repeat(" ", 12000) + `{"payment":"p"}`, "Transfer-Encoding: chunked\r\n\r\n5\r\n{"} {
		conn, r := g.dial()
		fmt.Fprint(conn, head("HTTP/1.1")+body)
		testbench.Must(t, conn.(interface{ CloseWrite() error }).CloseWrite())
		if got := next(t, r).code(t); got != 400100 {
			t.Errorf("%q: code %d", body, got)
		}
	}
	if len(g.stored()) != 0 {
		t.Error("something is stored")
	}
}

func TestSlowRequestTimesOut(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.ReadTimeout = 50 * time.Millisecond })
	for _, request := range []string{
		"POST /v1/sand", head("HTTP/1.1") + "Content-Length: 10\r\n\r\n{",
		head("HTTP/1.1") + "Content-Length: 20000\r\n\r\n" + strings.Repeat("x", 9000),
		head("HTTP/1.1") + "Transfer-Encoding: chunked\r\n\r\n5\r\n{",
	} {
		if got := g.raw(request).code(t); got != 408100 {
			t.Errorf("%.80q: code %d", request, got)
		}
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.IdleTimeout, o.ReadTimeout = 50*time.Millisecond, time.Minute })
	conn, r := g.dial()
	fmt.Fprint(conn, request("p", ""))
	if got := next(t, r).code(t); got != 200 {
		t.Fatalf("code %d", got)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection ends with %v, want EOF", err)
	}
}

func TestConnectionCloseIsFollowedInAnySpelling(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for i, c := range []struct {
		field string
		last  bool
	}{
		{"Connection: close\r\n", true}, {"Connection: Close\r\n", true}, {"connection:CLOSE \r\n", true},
		{"Connection: TE, close\r\nTE: trailers\r\n", true}, {"Connection: keep-alive\r\nConnection: Close\r\n", true},
		{"Connection: Keep-Alive\r\n", false}, {"Connection: closed\r\n", false}, {"X-Connection: close\r\n", false},
	} {
		conn, r := g.dial()
		fmt.Fprint(conn, request(fmt.Sprint("p", i), c.field))
		answer := next(t, r)
		if got := answer.code(t); got != 200 || answer.last != c.last {
			t.Errorf("%q: code %d, last %t, want it to be the last: %t", c.field, got, answer.last, c.last)
		}
		if c.last {
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("%q: the connection ends with %v, want EOF", c.field, err)
			}
		}
	}
}

func TestConnectionServesManyRequests(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	conn, r := g.dial()
	bad := "POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
	// Pipelined: unread bytes of one request would be taken for the next.
	fmt.Fprint(conn, request("p1", "")+bad+"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"+request("p2", "")+request("p3", "Connection: close\r\n"))
	for i, want := range []int{200, 401100, 404100, 200, 200} {
		answer := next(t, r)
		if got := answer.code(t); got != want {
			t.Errorf("answer %d: code %d, want %d", i, got, want)
		}
		if answer.last != (i == 4) {
			t.Errorf("answer %d: last %t", i, answer.last)
		}
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the connection ends with %v, want EOF", err)
	}
	if n := len(g.stored()); n != 3 {
		t.Errorf("%d notifications are stored, want 3", n)
	}
}

func TestUnreadBodyIsNotARequest(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	inner := request("smuggled", "")
	for _, first := range []string{
		fmt.Sprintf("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		fmt.Sprintf("PUT /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(inner), inner),
		"POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + inner,
	} {
		conn, r := g.dial()
		fmt.Fprint(conn, first)
		if got := next(t, r); got.status == http.StatusOK || !got.last {
			t.Errorf("%.40q: %d, last %t", first, got.status, got.last)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("%.40q: there is more than one answer", first)
		}
	}
	if len(g.stored()) != 0 {
		t.Error("a request inside a body was served")
	}
}

func TestOddButValidRequestsAreServed(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	plain := request("p", "")
	for _, request := range []string{
		strings.Replace(plain, "HTTP/1.1", "HTTP/1.0", 1),
		strings.Replace(plain, " /v1", " http://gateway.example/v1", 1),
		strings.Replace(plain, "notifications HTTP", "notifications?a=/v1/nobody HTTP", 1),
		strings.Replace(plain, "Authorization", "aUTHORIZATION", 1),
		"\r\n" + plain,
	} {
		if got := g.raw(request).code(t); got != 200 {
			t.Errorf("%.60q: code %d", request, got)
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	p := newGate()
	g := start(t, func(o *webhook.Options) { o.MaxConnections, o.Publisher = 1, p })
	p.Publisher = publisher(t, g.broker.Connect(), 5*time.Second)
	first, r1 := g.dial()
	fmt.Fprint(first, request("p1", ""))
	<-p.entered
	second, r2 := g.dial()
	fmt.Fprint(second, request("p2", ""))
	// The only slot is taken by a request that is being handled, so it is not evicted.
	testbench.Must(t, second.SetReadDeadline(time.Now().Add(700*time.Millisecond)))
	if _, err := r2.Peek(1); err == nil || len(p.entered) > 0 {
		t.Error("a second connection is served")
	}
	testbench.Must(t, second.SetReadDeadline(time.Now().Add(2*time.Minute)))
	close(p.open)
	if got := next(t, r1).code(t); got != 200 {
		t.Errorf("the first: code %d", got)
	}
	<-p.left
	// The first client stays connected and idle, so its connection is evicted.
	<-p.entered
	<-p.left
	if got := next(t, r2).code(t); got != 200 {
		t.Errorf("after the eviction: code %d", got)
	}
	if _, err := r1.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection ends with %v, want EOF", err)
	}
	if got := g.gauge("arauto_webhook_connections_evicted_total"); got != 1 {
		t.Errorf("%v evictions are counted, want 1", got)
	}
}
