package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/publish"
	"arauto/gateway/webhook"
)

// gate is a Publisher that blocks each Store until the test opens it.
type gate struct {
	publish.Publisher
	entered chan struct{}
	open    chan struct{}
	left    chan struct{}
}

func newGate() *gate {
	return &gate{entered: make(chan struct{}, 1), open: make(chan struct{}), left: make(chan struct{}, 1)}
}

func (p *gate) Store(ctx context.Context, m publish.Message) error {
	p.entered <- struct{}{}
	defer func() { p.left <- struct{}{} }()
	<-p.open
	return p.Publisher.Store(ctx, m)
}

func gated(t *testing.T, stop time.Duration) (*gateway, *gate) {
	t.Helper()
	p := newGate()
	g := start(t, func(o *webhook.Options) { o.StopTimeout = stop })
	// The gate wraps a Committer.
	p.Publisher = publisher(t, g.broker.NC, 5*time.Second)
	return startOn(t, g.broker, func(o *webhook.Options) { o.StopTimeout, o.Publisher = stop, p }), p
}

func TestStopLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	g, p := gated(t, 10*time.Second)
	conn, r := g.dial()
	idle, ri := g.dial()
	fmt.Fprint(idle, head("HTTP/1.1")+"Content-Length: 2\r\n\r\n{}")
	next(t, ri)
	fmt.Fprint(conn, request("last", ""))
	<-p.entered
	g.stop()
	// New connections are refused, and idle ones are closed.
	testbench.Until(t, "no connection is accepted", func() bool {
		c, err := net.Dial("tcp", g.addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	if _, err := ri.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection ends with %v, want EOF", err)
	}
	select {
	case err := <-g.ended:
		t.Fatalf("ended before its request: %v", err)
	default:
	}
	close(p.open)
	answer := next(t, r)
	if got := answer.code(t); got != 200 || !answer.last {
		t.Errorf("code %d, last %t", got, answer.last)
	}
	if err := <-g.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if all := g.stored(); len(all) != 1 || document(t, all[0]).Payment != "last" {
		t.Errorf("%d notifications are stored, want the last request's", len(all))
	}
}

func TestStopDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	g, p := gated(t, 50*time.Millisecond)
	conn, r := g.dial()
	fmt.Fprint(conn, request("stuck", ""))
	<-p.entered
	g.stop()
	if err := <-g.ended; err == nil {
		t.Error("ended without an error")
	}
	if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still there: %v", err)
	}
	close(p.open)
	<-p.left
}

func TestStopBeforeTheFirstRequest(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	g.stop()
	if err := <-g.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestBrokenListenerEndsTheRun(t *testing.T) {
	t.Parallel()
	o := options(t, nil)
	o.Publisher = newGate()
	g, err := webhook.New(o)
	testbench.Must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	_ = ln.Close()
	if err := g.Run(t.Context(), ln); err == nil {
		t.Error("ended without an error")
	}
}
