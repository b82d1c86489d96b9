package console

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
)

// served serves pages as the role does, until the test ends.
func served(t *testing.T, server *http.Server) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, server, listener) }()
	t.Cleanup(func() {
		cancel()
		testbench.Must(t, <-ended)
	})
	return listener.Addr().String()
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	server := newServer(http.NotFoundHandler(), zap.NewNop())
	server.ReadHeaderTimeout = time.Minute // So that none ends before the test.
	var open atomic.Int64
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			open.Add(1)
		}
	}
	at := served(t, server)
	dial := func() net.Conn {
		one, err := net.Dial("tcp", at)
		testbench.Must(t, err)
		t.Cleanup(func() { _ = one.Close() }) // It may be closed.
		return one
	}
	first := dial()
	for range maxConnections - 1 {
		dial()
	}
	testbench.Until(t, "every connection below the bound to be accepted", func() bool { return open.Load() == maxConnections })
	last := dial()
	_, err := io.WriteString(last, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	testbench.Must(t, err)
	testbench.Must(t, last.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	if _, err := last.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection too many is served: %v", err)
	}
	testbench.Must(t, first.Close())
	testbench.Must(t, last.SetReadDeadline(time.Now().Add(time.Minute)))
	if text, err := io.ReadAll(last); err != nil || len(text) == 0 {
		t.Errorf("once there is room: %q, %v", text, err)
	}
}

// A client that never reads holds its connection for the write timeout at most.
func TestClientThatNeverReadsIsCutOff(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	server := newServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for part := make([]byte, 1<<20); ; {
			if _, err := w.Write(part); err != nil {
				failed <- err
				return
			}
		}
	}), zap.NewNop())
	if server.WriteTimeout <= readTimeout+pageLimit {
		t.Errorf("a page that takes %v after a body of %v has %v", pageLimit, readTimeout, server.WriteTimeout)
	}
	server.WriteTimeout = 50 * time.Millisecond
	one, err := net.Dial("tcp", served(t, server))
	testbench.Must(t, err)
	defer one.Close() //nolint:errcheck // It was cut off.
	_, err = io.WriteString(one, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	testbench.Must(t, err)
	select {
	case err := <-failed:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-t.Context().Done():
	case <-time.After(time.Minute):
		t.Error("the page is still written")
	}
}

// An event stream outlives the write timeout of pages.
func TestEventStreamOutlivesTheWriteTimeout(t *testing.T) {
	t.Parallel()
	r := start(t)
	server := newServer(http.HandlerFunc(r.site.live), zap.NewNop())
	server.WriteTimeout = 20 * time.Millisecond
	request, err := http.NewRequestWithContext(r.Ctx, http.MethodGet, "http://"+served(t, server)+livePath, http.NoBody)
	r.Must(err)
	began := time.Now()
	answer, err := r.browser("joao").Do(request)
	r.Must(err)
	defer answer.Body.Close() //nolint:errcheck // Only read from.
	lines := bufio.NewScanner(answer.Body)
	for time.Since(began) < 5*server.WriteTimeout {
		r.site.watch.tick()
		if !lines.Scan() {
			t.Fatalf("the stream ended after %v: %v", time.Since(began), lines.Err())
		}
	}
}
