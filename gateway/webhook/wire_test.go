package webhook_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// wire carries a connection to the broker, and can hold back what the broker
// says.
type wire struct {
	addr string
	back sync.Mutex
}

func newWire(t *testing.T, url string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: ln.Addr().String()}
	var ended sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		ended.Wait()
	})
	ended.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
			if err != nil {
				_ = near.Close()
				continue
			}
			ended.Go(func() { defer far.Close(); _, _ = io.Copy(far, near) })
			ended.Go(func() { defer near.Close(); w.giveBack(near, far) })
		}
	})
	return w
}

func (w *wire) giveBack(near, far net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := far.Read(buffer)
		w.back.Lock()
		if n > 0 {
			_, _ = near.Write(buffer[:n])
		}
		w.back.Unlock()
		if err != nil {
			return
		}
	}
}
