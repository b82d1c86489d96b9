// Package rival is what Arauto's gateway is measured against: the shortest
// programs that answer 200 to the same webhook on the same broker. They check
// nothing, log nothing and look into no body, which is generous to them.
package rival

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// The rivals.
const (
	FiberPublish = "fiber"    // Fiber, and one plain publish per request, awaited.
	HTTPPublish  = "net-http" // net/http likewise.
	FiberOnly    = "nothing"  // Fiber answering without a publish.
)

// budget is how long a publish may take, as in the gateway.
const budget = 800 * time.Millisecond

// Serve runs a rival on a free port of this machine until ctx ends. It calls
// ready with its host:port when it answers.
func Serve(ctx context.Context, name, url string, ready func(address string) error) error {
	serve, ok := map[string]func(context.Context, net.Listener, *store) error{
		FiberPublish: serveFiber,
		HTTPPublish:  serveHTTP,
		FiberOnly:    serveNothing,
	}[name]
	if !ok {
		return fmt.Errorf("no rival is called %q", name)
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return fmt.Errorf("connect to broker: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	if err := ready(listener.Addr().String()); err != nil {
		return err
	}
	return serve(ctx, listener, &store{js: js})
}

// store publishes as anybody would who starts with JetStream.
type store struct {
	js   jetstream.JetStream
	next atomic.Uint64
}

// subjectOfAll is the one subject of all messages.
var subjectOfAll = subject.Unit{Provider: "picpay-checkout", Account: "default", Payment: "everything"}.Notification()

// put stores the body as it is, with a message id, and waits until the broker
// has confirmed it.
func (s *store) put(body []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), budget)
	defer cancel()
	_, err := s.js.Publish(ctx, subjectOfAll, body,
		jetstream.WithMsgID(strconv.FormatUint(s.next.Add(1), 10)))
	return err
}
