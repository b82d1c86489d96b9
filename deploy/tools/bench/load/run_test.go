package load

import (
	"bufio"
	"bytes"
	"context"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// good is how the gateway answers.
const good = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOk"

// serve answers every request with what answer says, as it is, in pieces. It
// returns the address and how many connections it has had.
func serve(t *testing.T, answer func(n int64) string) (address string, connections *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
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
					for _, piece := range strings.SplitAfter(answer(requests.Add(1)), "\r\n\r\n") {
						_, _ = conn.Write([]byte(piece))
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
	list := filepath.Join(t.TempDir(), "accepted")
	var marks bytes.Buffer
	r, err := Run(t.Context(), &marks, Options{
		Address: address, Connections: 3, Span: Span{Warm: 100 * time.Millisecond, For: 200 * time.Millisecond}, Accepted: list,
	})
	if err != nil {
		t.Fatal(err)
	}
	if marks.String() != "begin\nend\n" || connections.Load() != 3 {
		t.Errorf("marks %q, %d connections", marks.String(), connections.Load())
	}
	if r.Bad() != 0 || r.Accepted.Count == 0 || r.Everything != uint64(asked.Load()) || r.Accepted.Count >= r.Everything {
		t.Errorf("%+v of %d requests", r, asked.Load())
	}
	if r.Rate() != float64(r.Accepted.Count)/0.2 || r.CPU <= 0 || r.Accepted.P99 <= 0 || r.Accepted != r.Service {
		t.Errorf("%+v", r)
	}
	data, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	ids := slices.Sorted(slices.Values(strings.Fields(string(data))))
	if len(slices.Compact(ids)) != int(r.Everything) || !slices.Contains(ids, PaymentID(2, 0)) {
		t.Errorf("%d different payments for %d accepted", len(ids), r.Everything)
	}
}

func TestEachRequestHasAConnectionOfItsOwnWhenAskedFor(t *testing.T) {
	t.Parallel()
	address, connections := serve(t, func(int64) string { return good })
	r, err := Run(t.Context(), &bytes.Buffer{}, Options{
		Address: address, Connections: 2, PerConnection: 1, Span: Span{For: 200 * time.Millisecond},
	})
	if err != nil || r.Bad() != 0 || r.Everything == 0 || connections.Load() != int64(r.Everything) {
		t.Errorf("%d connections for %d requests, %v, %v", connections.Load(), r.Everything, r, err)
	}
}

// TestWhatIsNotOkIsCounted answers wrongly now and then.
func TestWhatIsNotOkIsCounted(t *testing.T) {
	t.Parallel()
	wrong := map[int64]string{
		5:  "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nno!",
		10: "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		15: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		20: "HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\nOk",
		25: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nOk\r\n0\r\n\r\n",
		30: "SMTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOk",
		35: strings.Repeat("x", 5000),
	}
	address, connections := serve(t, func(n int64) string {
		if text, ok := wrong[n]; ok {
			return text
		}
		return good
	})
	r, err := Run(t.Context(), &bytes.Buffer{}, Options{Address: address, Connections: 1, Span: Span{For: 500 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(r.Statuses, map[int]uint64{503: 1, 401: 1}) || !maps.Equal(r.Errors, map[string]uint64{problemAnswer: 5}) {
		t.Errorf("statuses %v, errors %v", r.Statuses, r.Errors)
	}
	if r.Refused.Count != 2 || r.Bad() != 7 || connections.Load() != 7 {
		t.Errorf("refused %d, bad %d, %d connections; only the 503 keeps its own", r.Refused.Count, r.Bad(), connections.Load())
	}
}

// TestOpenLoopCountsFromWhenARequestWasDue lets one answer of one connection
// take long. All that was due meanwhile waited too, and must say so.
func TestOpenLoopCountsFromWhenARequestWasDue(t *testing.T) {
	t.Parallel()
	const stall = 300 * time.Millisecond
	slow := func(n int64) string {
		if n == 50 {
			<-time.After(stall)
		}
		return good
	}
	o := Options{Connections: 1, Rate: 500, Group: 3, Span: Span{For: 800 * time.Millisecond}}
	o.Address, _ = serve(t, slow)
	r, err := Run(t.Context(), &bytes.Buffer{}, o)
	if err != nil || r.Bad() != 0 {
		t.Fatal(r, err)
	}
	if r.Accepted.Count != 400 || r.Everything != 400 {
		t.Errorf("%d sent and %d counted, 400 were due", r.Everything, r.Accepted.Count)
	}
	// 150 of 400 were due during the stall, so more than one in ten waited for long.
	if r.Accepted.P99 < stall/2 || r.Accepted.Max < stall || r.Service.P99 > r.Accepted.P99 {
		t.Errorf("from due %+v, from sent %+v", r.Accepted, r.Service)
	}

	o.Address, _ = serve(t, slow)
	o.Lag = 100 * time.Millisecond
	if r, err = Run(t.Context(), &bytes.Buffer{}, o); err != nil || r.Late == 0 || r.Late+r.Everything != 400 {
		t.Errorf("%d given up and %d sent of 400: %v", r.Late, r.Everything, err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, func(int64) string { return good })
	for _, rate := range []float64{0, 1} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := Run(ctx, &bytes.Buffer{}, Options{Address: address, Connections: 2, Rate: rate, Span: Span{For: time.Hour}})
		cancel()
		if err == nil {
			t.Error("it says nothing")
		}
	}
}

func TestRunRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, o := range map[string]Options{
		"no connections": {Address: "x", Span: Span{For: 1}},
		"no time":        {Address: "x", Connections: 1},
		"nobody there":   {Address: closed.Addr().String(), Connections: 1, Span: Span{For: time.Millisecond}},
	} {
		if _, err := Run(t.Context(), &bytes.Buffer{}, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if r, err := Run(t.Context(), &bytes.Buffer{}, Options{
		Address: closed.Addr().String(), Connections: 1, PerConnection: 1, Span: Span{For: 200 * time.Millisecond},
	}); err != nil || r.Errors[problemConnect] == 0 {
		t.Errorf("refused connections are not counted: %v, %v", r.Errors, err)
	}
}
