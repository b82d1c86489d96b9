package providerhttp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/workers/internal/providerhttp"
	"arauto/workers/internal/verdict"
)

func TestAnswerBecomesAFact(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, q *http.Request) {
		if q.Method != http.MethodGet || q.URL.Path != "/payments/p-1" || q.Header.Get("Authorization") != canary {
			t.Errorf("asked %s %s", q.Method, q.URL.Path)
		}
		says(http.StatusOK, paid)(w, q)
	})
	fact, err := lookUp(t.Context(), t, client(t, 10*time.Second, time.Now), s.URL)
	testbench.Must(t, err)
	if fact.Status != order.Paid || fact.Order != "o-1" || fact.Amount == nil || fact.Amount.Value != 10000 {
		t.Errorf("fact is %+v", fact)
	}
}

func TestUnknownWordKeepsTheRestOfTheFact(t *testing.T) {
	t.Parallel()
	s := serve(t, says(http.StatusOK, `{"payment":"p-1","order":"o-1","status":"teleported","amount":10000}`))
	fact, err := lookUp(t.Context(), t, client(t, 10*time.Second, time.Now), s.URL)
	var unknown *provider.UnknownWordError
	if !errors.As(err, &unknown) || unknown.Word != "teleported" {
		t.Fatalf("error is %v", err)
	}
	if fact.Order != "o-1" || fact.ProviderStatus != "teleported" || fact.Amount == nil {
		t.Errorf("fact is %+v", fact)
	}
}

// broken are the ways in which a provider gives no response.
var broken = map[string]http.HandlerFunc{
	"silence": func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() },
	"silence in the middle": func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Length", "100")
		says(http.StatusOK, `{"payment":`)(w, q)
		_ = http.NewResponseController(w).Flush()
		<-q.Context().Done()
	},
	"reset": func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	},
	"cut off": func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Length", "100")
		says(http.StatusOK, `{"payment":`)(w, q)
	},
	"no HTTP": func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = fmt.Fprint(conn, "SSH-2.0-"+canary+"\r\n\r\n")
		_ = conn.Close()
	},
}

// refused is an address without a listener.
func refused(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	defer func() { _ = l.Close() }()
	return "http://" + l.Addr().String()
}

func TestNoResponseIsATransportFailure(t *testing.T) {
	t.Parallel()
	hosts := map[string]string{
		"refused":      refused(t),
		"no such host": "http://empty..label", // The resolver refuses it without a query.
		"no such port": "http://127.0.0.1:99999",
		"no TLS":       strings.Replace(serve(t, says(http.StatusOK, paid)).URL, "http:", "https:", 1),
	}
	told := map[string]string{
		"refused": "connection refused", "no such host": "host name not resolved", "no TLS": "TLS handshake failed",
		"not trusted": "certificate not trusted",
	}
	for name, handle := range broken {
		hosts[name] = serve(t, handle).URL
	}
	untrusted := httptest.NewUnstartedServer(says(http.StatusOK, paid))
	untrusted.Config.ErrorLog = zap.NewStdLog(zap.NewNop()) // It logs the failed handshake.
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	hosts["not trusted"] = untrusted.URL
	for name, base := range hosts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := time.Minute
			if strings.HasPrefix(name, "silence") {
				timeout = 500 * time.Millisecond
			}
			_, err := lookUp(t.Context(), t, client(t, timeout, time.Now), base)
			if !errors.Is(err, verdict.ErrTransport) || verdict.FailureOf(err) != record.Transport {
				t.Errorf("error is %v", err)
			}
			if strings.HasPrefix(name, "silence") != strings.Contains(fmt.Sprint(err), "timed out") {
				t.Errorf("error %v names the wrong kind", err)
			}
			if !strings.HasSuffix(fmt.Sprint(err), told[name]) || providerhttp.StatusOf(err) != 0 {
				t.Errorf("error is %v, want %s", err, told[name])
			}
		})
	}
}

func TestAnswerOverTheLimitIsUnreadable(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"at the limit": limit, "over it": limit + 1, "far over it": 64 * limit} {
		s := serve(t, says(http.StatusOK, paid+strings.Repeat(" ", size-len(paid))))
		_, err := lookUp(t.Context(), t, client(t, 10*time.Second, time.Now), s.URL)
		if tooBig := size > limit; tooBig != errors.Is(err, provider.ErrUnreadable) || tooBig != (err != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var visits atomic.Int32
	other := serve(t, func(w http.ResponseWriter, q *http.Request) {
		visits.Add(1)
		says(http.StatusOK, paid)(w, q)
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := serve(t, func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, other.URL+"/payments/p-1", status)
		})
		_, err := lookUp(t.Context(), t, client(t, 10*time.Second, time.Now), s.URL)
		if !errors.Is(err, provider.ErrUnreadable) {
			t.Errorf("status %d gave %v", status, err)
		}
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

func TestThrottlingKeepsRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                              0,
		"7":                             7 * time.Second,
		"0":                             0,
		"-5":                            0,
		"soon":                          0,
		"1.5":                           0,
		"2147483647":                    2147483647 * time.Second,
		"99999999999999999999":          0,
		"Sun, 22 Nov 2026 01:03:03 GMT": time.Minute,
		"Sun, 22 Nov 2026 01:00:00 GMT": 0,
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		_, err := lookUp(t.Context(), t, client(t, 10*time.Second, func() time.Time { return now }), s.URL)
		var throttled *providerhttp.ThrottledError
		if !errors.As(err, &throttled) || !errors.Is(err, provider.ErrThrottled) || throttled.After != want {
			t.Errorf("Retry-After %q gave %v, %+v", header, err, throttled)
		}
	}
}

func TestEndedContextIsNoTransportFailure(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	s := serve(t, func(_ http.ResponseWriter, q *http.Request) {
		stop()
		<-q.Context().Done()
	})
	_, err := lookUp(ctx, t, client(t, time.Minute, time.Now), s.URL)
	if !errors.Is(err, context.Canceled) || errors.Is(err, verdict.ErrTransport) {
		t.Errorf("error is %v", err)
	}
}

func TestAccountWithoutALookUpIsNotAsked(t *testing.T) {
	t.Parallel()
	p := withLogIn()
	p.Ask = func(provider.Target, provider.Account) (provider.Question, error) {
		return provider.Question{}, provider.ErrNoLookUp
	}
	_, err := client(t, time.Second, time.Now).Ask(t.Context(), p, guardedAccount(refused(t)), target)
	if !errors.Is(err, provider.ErrNoLookUp) {
		t.Errorf("error is %v", err)
	}
}

func TestInvalidRequestIsOurFault(t *testing.T) {
	t.Parallel()
	for name, q := range map[string]provider.Question{
		"URL":    {Method: http.MethodGet, URL: "http://[" + canary},
		"method": {Method: "GET " + canary, URL: "http://127.0.0.1"},
		"scheme": {Method: http.MethodGet, URL: canary + "://127.0.0.1"},
		"host":   {Method: http.MethodGet, URL: "http:///" + canary},
		"header": {Method: http.MethodGet, URL: "http://127.0.0.1", Header: map[string]string{"x": canary + "\r\nx: y"}},
	} {
		p := withLogIn()
		p.Login = nil
		p.Ask = func(provider.Target, provider.Account) (provider.Question, error) { return q, nil }
		_, err := client(t, time.Second, time.Now).Ask(t.Context(), p, guardedAccount(""), target)
		if err == nil || verdict.FailureOf(err) != record.Ours || strings.Contains(err.Error(), canary) {
			t.Errorf("a bad %s gave %v", name, err)
		}
	}
}

// A body may have no coding, whatever the header says, or be gzip, whose unpacked bytes
// count.
func TestAnswersAreReadAsSent(t *testing.T) {
	t.Parallel()
	packed := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(text)); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		coding, body string
		want         error
	}{
		"no coding, behind a byte order mark": {"", "\xef\xbb\xbf" + paid, nil},
		"utf-8":                               {"utf-8", paid, nil},
		"none":                                {"none", paid, nil},
		"gzip":                                {"gzip", packed(paid), nil},
		"a bomb":                              {"gzip", packed(paid + strings.Repeat(" ", 100*limit)), provider.ErrUnreadable},
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if c.coding != "" {
				w.Header().Set("Content-Encoding", c.coding)
			}
			_, _ = io.WriteString(w, c.body) // Some clients disconnect before the end.
		})
		fact, err := lookUp(t.Context(), t, client(t, time.Minute, time.Now), s.URL)
		if !errors.Is(err, c.want) || (err == nil) != (fact.Status == order.Paid) {
			t.Errorf("%s gives %+v, %v; want %v", name, fact, err, c.want)
		}
	}
}

func TestRefusedURLIsDistinguished(t *testing.T) {
	t.Parallel()
	for status, want := range map[int][2]bool{400: {true, false}, 414: {false, true}, 422: {false, false}, 404: {false, false}} {
		_, err := lookUp(t.Context(), t, client(t, time.Minute, time.Now), serve(t, says(status, "<html>")).URL)
		if got := [2]bool{errors.Is(err, verdict.ErrURL), errors.Is(err, verdict.ErrURLTooLong)}; got != want {
			t.Errorf("status %d gave %v", status, err)
		}
		if refused := want != [2]bool{}; refused && verdict.FailureOf(err) != record.Refused {
			t.Errorf("status %d has the cause %s", status, verdict.FailureOf(err))
		}
	}
}

// The URL that the token endpoint refuses is not a payment's.
func TestRefusedLoginIsNoRefusedURL(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 414} {
		_, err := open(t, &tokenEndpoint{desk: says(status, "<html>")}, time.Now)(t.Context())
		if err == nil || errors.Is(err, verdict.ErrURL) || errors.Is(err, verdict.ErrURLTooLong) {
			t.Errorf("status %d at the token endpoint gave %v", status, err)
		}
	}
}
