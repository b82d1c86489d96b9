package load

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// good is how the gateway answers.
const good = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOk"

// serve answers every request with what answer says, as it is, in pieces, and
// closes the connection after an answer that is not whole. It returns the
// address and how many connections it has had.
func serve(t *testing.T, answer func(n int64) string) (address string, connections *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	var requests, opened atomic.Int64
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			opened.Add(1)
			handlers.Go(func() {
				defer conn.Close()
				for in := bufio.NewReader(conn); ; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					if _, err := bytes.NewBuffer(nil).ReadFrom(r.Body); err != nil {
						return
					}
					text := answer(requests.Add(1))
					for _, piece := range strings.SplitAfter(text, "\r\n\r\n") {
						_, _ = conn.Write([]byte(piece))
					}
					if len(text) < len(good) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { listener.Close(); handlers.Wait() })
	return listener.Addr().String(), &opened
}

func TestClosedLoopKeepsEveryConnectionBusy(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	address, connections := serve(t, func(n int64) string { asked.Store(n); return good })
	edges := ""
	r, err := Webhooks(t.Context(), address, 3, Options{
		Warm: 100 * time.Millisecond, For: 200 * time.Millisecond, Keep: true,
		Begin: func() { edges += "begin " }, End: func() { edges += "end" },
	})
	testbench.Must(t, err)
	if edges != "begin end" || connections.Load() != 3 {
		t.Errorf("edges %q, %d connections", edges, connections.Load())
	}
	accepted := int(r.Accepted.TotalCount())
	if len(r.Failed) != 0 || accepted == 0 || int64(r.Total) != asked.Load() || accepted >= r.Total {
		t.Errorf("%+v of %d requests", r, asked.Load())
	}
	if r.Rate() != float64(accepted)/0.2 || r.P99() <= 0 || r.P50() > r.P99() {
		t.Errorf("%+v", r)
	}
	payments := map[Payment]bool{}
	for _, p := range r.Payments {
		payments[p] = true
	}
	if len(payments) != r.Total || !payments[Payment{2, 0}] {
		t.Errorf("%d different payments for %d accepted", len(payments), r.Total)
	}
}

// TestWhatIsNotOkIsCounted answers wrongly now and then.
func TestWhatIsNotOkIsCounted(t *testing.T) {
	t.Parallel()
	wrong := map[int64]string{
		5:  "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 37\r\n\r\n" + strings.Repeat("x", 37),
		10: "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nX-Filler: " + strings.Repeat("x", 60) + "\r\nConnection: close\r\n\r\n",
		15: strings.Replace(good, "Ok", "ok", 1),
		20: "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nOk",
		25: strings.Repeat("x", 5000),
	}
	address, connections := serve(t, func(n int64) string {
		if text, ok := wrong[n]; ok {
			return text
		}
		return good
	})
	r, err := Webhooks(t.Context(), address, 1, Options{Rate: 200, For: 200 * time.Millisecond})
	testbench.Must(t, err)
	want := map[string]int{"503": 1, "401": 1, "answer": 1, "connection": 2}
	if !maps.Equal(r.Failed, want) || r.Total != 35 || r.Refused.TotalCount() != 2 {
		t.Errorf("failed %v, %d accepted, %d refused", r.Failed, r.Total, r.Refused.TotalCount())
	}
	if got := r.Others("503"); got != "1 × 401, 1 × answer, 2 × connection" {
		t.Errorf("others are %q", got)
	}
	if connections.Load() != 4 {
		t.Errorf("%d connections; 401 and the broken answers end theirs", connections.Load())
	}
}

// TestOpenLoopCountsFromWhenARequestWasDue lets one answer of one connection
// take long. All that was due meanwhile waited too, and must say so.
func TestOpenLoopCountsFromWhenARequestWasDue(t *testing.T) {
	t.Parallel()
	const stall = 300 * time.Millisecond
	var n int
	slow := func(context.Context, Payment) (int, string) {
		if n++; n == 50 {
			<-time.After(stall)
		}
		return 200, ""
	}
	o := Options{Rate: 500, Run: 3, For: 800 * time.Millisecond, Keep: true}
	r, err := Drive(t.Context(), o, []Send{slow})
	if err != nil || len(r.Failed) != 0 {
		t.Fatal(r, err)
	}
	if r.Accepted.TotalCount() != 400 || r.Total != 400 || r.Payments[399] != (Payment{3, 399}) {
		t.Errorf("%d sent and %d counted, 400 were due", r.Total, r.Accepted.TotalCount())
	}
	// 150 of 400 were due during the stall, so more than one in ten waited for long.
	if r.P99() < 150 || r.Accepted.Max() < 300_000 || r.Service.Millis(99) > r.P99() {
		t.Errorf("p99 from due %v ms, from sent %v ms", r.P99(), r.Service.Millis(99))
	}

	n, o.MaxLag = 0, 100*time.Millisecond
	if r, err = Drive(t.Context(), o, []Send{slow}); err != nil || r.Failed[NotSent] == 0 || r.Failed[NotSent]+r.Total != 400 {
		t.Errorf("%d given up and %d sent of 400: %v", r.Failed[NotSent], r.Total, err)
	}
}

func TestDriveEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 1} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			end := func(context.Context, Payment) (int, string) { cancel(); return 200, "" }
			if _, err := Drive(ctx, Options{Rate: rate, For: time.Hour}, []Send{end, end}); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestLatencyIsThatOfTheSortedValues(t *testing.T) {
	t.Parallel()
	l := NewLatency()
	for i := range 1000 {
		l.Add(time.Duration(1000-i) * time.Millisecond)
	}
	for percent, want := range map[float64]float64{50: 500, 99: 990, 100: 1000} {
		if got := l.Millis(percent); got < want || got > want*1.001 {
			t.Errorf("%v %% take %v ms, want %v", percent, got, want)
		}
	}
	l.Add(100 * time.Hour)
	if got := l.Millis(100); l.TotalCount() != 1001 || got < 600_000 {
		t.Errorf("the longest is %v ms of %d", got, l.TotalCount())
	}
}
