package process

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
)

// frozen is a broker that greets and then reads nothing more.
func frozen(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var held []net.Conn
		for {
			c, err := listener.Accept()
			if err != nil {
				break
			}
			held = append(held, c)
			greet(c)
		}
		for _, c := range held {
			_ = c.Close() // The test is over.
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return listener.Addr().String()
}

// greet speaks as much of the protocol as a client needs to feel connected.
func greet(c net.Conn) {
	if _, err := c.Write([]byte(`INFO {"server_id":"x","version":"2.15.2","proto":1,"headers":true,"max_payload":1048576}` + "\r\n")); err != nil {
		return
	}
	for r := bufio.NewReaderSize(c, 512); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "PING") {
			_, _ = c.Write([]byte("PONG\r\n")) // A client that is gone shows at the next read.
			return
		}
	}
}

func TestBrokerThatStopsReadingFailsPublishesInsteadOfHoldingThem(t *testing.T) {
	t.Parallel()
	conn, err := connect("gateway", config.NATS{URL: "nats://" + frozen(t)}, newLink(), zap.NewNop())
	testbench.Must(t, err)
	t.Cleanup(conn.Close)
	failed := make(chan error, 1)
	go func() {
		body := make([]byte, 512<<10)
		for {
			if err := conn.Publish("notifications.a.b.c", body); err != nil {
				failed <- err
				return
			}
		}
	}()
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	select {
	case <-failed:
	case <-timeout.C:
		t.Error("a publish into a full socket is still waiting after 20 s")
	}
}
