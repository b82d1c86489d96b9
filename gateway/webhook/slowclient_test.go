package webhook_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/webhook"
	"arauto/schemas/providers"
)

// dribble sends one byte every 5 ms, more again and again, until the connection is closed or
// its deadline has passed.
func dribble(conn net.Conn, first, more string) {
	_, err := io.WriteString(conn, first)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; err == nil; i++ {
		<-tick.C
		_, err = io.WriteString(conn, more[i%len(more):i%len(more)+1])
	}
}

// slow is a request without an end: first is sent at once, then more without end.
type slow struct{ first, more string }

func slowOnes() map[string]slow {
	h := head("HTTP/1.1")
	chunked := h + "Transfer-Encoding: chunked\r\n\r\n"
	return map[string]slow{
		"in the request line":    {"POST /v1/", "a"},
		"in a header's value":    {h + "X: ", "a"},
		"in many headers":        {h, "X: a\r\n"},
		"in the body":            {h + "Content-Length: 10000\r\n\r\n", "a"},
		"after a good request":   {request("good", "") + h + "Content-Length: 10000\r\n\r\n", "a"},
		"in a chunk":             {chunked + "2710\r\n", "a"},
		"in many chunks":         {chunked, "1\r\na\r\n"},
		"in a chunk's trailer":   {chunked + "0\r\n", "X: a\r\n"},
		"in a chunk's extension": {chunked + "1;", "a"},
	}
}

func TestSlowClientsTimeOutAndDelayNoOther(t *testing.T) {
	t.Parallel()
	const allowed = 400 * time.Millisecond
	g := start(t, func(o *webhook.Options) { o.ReadTimeout = allowed })
	var busy sync.WaitGroup
	for about, s := range slowOnes() {
		conn, r := g.dial()
		began := time.Now()
		busy.Go(func() { dribble(conn, s.first, s.more) })
		busy.Go(func() {
			defer conn.Close()
			answer := next(t, r)
			if about == "after a good request" {
				answer = next(t, r)
			}
			if got := answer.code(t); got != 408100 || !answer.last {
				t.Errorf("%s: code %d, last %t", about, got, answer.last)
			}
			if took := time.Since(began); took < allowed/2 || took > allowed+3*time.Second {
				t.Errorf("%s: cut off after %v, want %v", about, took, allowed)
			}
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("%s: the connection ends with %v, want EOF", about, err)
			}
		})
	}
	for i := range 5 {
		if got := g.raw(request(fmt.Sprintf("p-%d", i), "")).code(t); got != 200 {
			t.Errorf("another client: code %d", got)
		}
	}
	busy.Wait()
	if n := len(g.stored()); n != 6 {
		t.Errorf("%d notifications are stored, want those of the others and of the good request: 6", n)
	}
}

func TestSlowClientsFreeTheirSlots(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.MaxConnections, o.ReadTimeout = len(slowOnes()), 200*time.Millisecond })
	var sending sync.WaitGroup
	defer sending.Wait()
	for _, s := range slowOnes() {
		conn, _ := g.dial()
		sending.Go(func() { dribble(conn, s.first, s.more); _ = conn.Close() })
	}
	for i := range 2 * len(slowOnes()) {
		if got := g.raw(request(fmt.Sprintf("p-%d", i), "Connection: close\r\n")).code(t); got != 200 {
			t.Errorf("code %d", got)
		}
	}
}

func TestClientThatNeverReadsTimesOut(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.WriteTimeout, o.MaxConnections = 200*time.Millisecond, 1 })
	conn, _ := g.dial()
	// With a small window fewer answers fill the socket buffers.
	testbench.Must(t, conn.(*net.TCPConn).SetReadBuffer(4096))
	testbench.Must(t, conn.SetDeadline(time.Now().Add(8*time.Minute)))
	block := bytes.Repeat([]byte("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"), 1000)
	_, err := fmt.Fprint(conn, request("first", "")) // Without it the connection would be closed after the first 404.
	for err == nil {
		_, err = conn.Write(block)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("it is still served after eight minutes")
	}
	if got := g.raw(request("p", "")).code(t); got != 200 {
		t.Errorf("the next client: code %d", got)
	}
}

// disconnect closes the client's connection, with a reset or in order.
var disconnect = map[string]func(t *testing.T, conn net.Conn){
	"reset": func(t *testing.T, conn net.Conn) {
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	},
	"close": func(_ *testing.T, conn net.Conn) { _ = conn.Close() },
}

func TestClientThatDisconnectsFreesItsSlot(t *testing.T) {
	t.Parallel()
	h := head("HTTP/1.1")
	for about, leave := range disconnect {
		g := start(t, func(o *webhook.Options) { o.MaxConnections, o.ReadTimeout = 1, time.Minute })
		for _, text := range []string{
			"", "POST /v1/", h, h + "Content-Length: 19\r\n\r\n", h + "Content-Length: 19\r\n\r\n" + content[:10],
			h + "Content-Length: 50000\r\n\r\n" + strings.Repeat("x", 20000), h + "Transfer-Encoding: chunked\r\n\r\n" + pieces[:15],
			h + "Expect: 100-continue\r\nContent-Length: 19\r\n\r\n",
		} {
			conn, _ := g.dial()
			fmt.Fprint(conn, text)
			leave(t, conn)
		}
		// The only slot is free long before any timeout.
		if got := g.raw(request("p", "")).code(t); got != 200 {
			t.Errorf("%s: the next client: code %d", about, got)
		}
		if n := len(g.stored()); n != 1 {
			t.Errorf("%s: %d notifications are stored, want the next client's", about, n)
		}
	}
}

func TestWebhookOfADisconnectedClientIsStored(t *testing.T) {
	t.Parallel()
	for about, leave := range disconnect {
		g, p := gated(t, 0)
		conn, _ := g.dial()
		fmt.Fprint(conn, request("orphan", ""))
		<-p.entered
		leave(t, conn)
		close(p.open)
		<-p.left
		if all := g.stored(); len(all) != 1 || document(t, all[0]).Payment != "orphan" {
			t.Errorf("%s: %d notifications are stored, want the orphan", about, len(all))
		}
		testbench.Until(t, "a webhook is accepted", func() bool { return g.metric("arauto_webhooks_total", "accepted") == 1 })
		if got := g.raw(request("next", "")).code(t); got != 200 {
			t.Errorf("%s: the next client: code %d", about, got)
		}
	}
}

// floods returns headers over the limit.
func floods() map[string]string {
	return map[string]string{
		"100,000 tiny headers":     strings.Repeat("a: b\r\n", 100_000),
		"100,000 of no value":      strings.Repeat("a:\r\n", 100_000),
		"the same credential":      strings.Repeat("Authorization: x\r\n", 100_000),
		"one header of a megabyte": "X: " + strings.Repeat("x", 1<<20) + "\r\n",
		"one name of a megabyte":   strings.Repeat("x", 1<<20) + ": x\r\n",
	}
}

func TestHeaderFloodEndsTheConnection(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for about, flood := range floods() {
		answers := g.dialogue(head("HTTP/1.1") + flood + "\r\n" + request("smuggled", ""))
		if len(answers) != 1 || answers[0].code(t) != 431100 || !answers[0].last {
			t.Errorf("%s: %+v", about, answers)
		}
	}
	if n := len(g.stored()); n != 0 {
		t.Errorf("%d notifications are stored", n)
	}
}

// allocated returns how many bytes the gateway allocates for a connection that sends text,
// where fasthttp's pools have what an earlier connection gave back. It is the least of many,
// because under the race detector a pool drops a quarter of what it is given, at random, and
// a garbage collection empties it.
func allocated(t *testing.T, text, status string) int {
	t.Helper()
	o := options(t, providers.All)
	o.Publisher = &checkingPublisher{}
	g, err := webhook.New(o)
	testbench.Must(t, err)
	said, least := []byte(text), uint64(math.MaxInt64)
	for range 30 {
		var before, after runtime.MemStats
		p := &pipe{in: bytes.NewReader(said)}
		runtime.ReadMemStats(&before)
		_ = g.ServeConn(p)
		runtime.ReadMemStats(&after)
		if !bytes.HasPrefix(p.out.Bytes(), []byte("HTTP/1.1 "+status)) {
			t.Errorf("the answer is %.40q, want %s", p.out.Bytes(), status)
		}
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return int(least) //nolint:gosec // At most what was allocated.
}

//nolint:paralleltest // It measures the allocations of the whole process.
func TestRefusedRequestTakesLittleMemory(t *testing.T) {
	for about, flood := range floods() {
		if per := allocated(t, head("HTTP/1.1")+flood+"\r\n", "431"); per > 64<<10 {
			t.Errorf("%s: %d bytes are allocated", about, per)
		}
	}
	promise := head("HTTP/1.1") + "Content-Length: 262144\r\n\r\n" + strings.Repeat("x", 9<<10)
	if per := allocated(t, promise, "400"); per > 64<<10 {
		t.Errorf("a body that never comes: %d bytes are allocated", per)
	}
}
