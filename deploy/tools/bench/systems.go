package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/tools/bench/load"
	"arauto/gateway/publish"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// publishTimeout is how long a message may take, as in the gateway.
const publishTimeout = 800 * time.Millisecond

// rivals are the shortest programs that answer 200 to the same webhook on the
// same broker. They publish each request alone, and neither check, log nor
// parse it, which favours them.
var rivals = map[string]func(listener net.Listener, publish func(body []byte) error) error{
	"fiber": serveFiber, "net-http": serveHTTP,
}

// serveRival runs a rival on a free port until ctx ends, and calls ready with
// its host:port.
func serveRival(ctx context.Context, name, url string, ready func(addresses ...any) error) error {
	js, err := connect(url)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	if err := ready(listener.Addr().String()); err != nil {
		return err
	}
	served, id := make(chan error, 1), new(atomic.Uint64)
	go func() {
		served <- rivals[name](listener, func(body []byte) error {
			ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
			defer cancel()
			_, err := js.Publish(ctx, "notifications.picpay-checkout.default.one", body, jetstream.WithMsgID(strconv.FormatUint(id.Add(1), 10)))
			return err
		})
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done(): // The process ends now, and with it what it serves.
		return nil
	}
}

func serveFiber(listener net.Listener, publish func([]byte) error) error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Post(load.Route, func(c *fiber.Ctx) error {
		if publish(c.Body()) != nil {
			return c.SendStatus(http.StatusServiceUnavailable)
		}
		return c.SendString("Ok")
	})
	return app.Listener(listener)
}

func serveHTTP(listener net.Listener, publish func([]byte) error) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+load.Route, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || publish(body) != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "Ok") // It fails when the client has gone.
	})
	return (&http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}).Serve(listener)
}

// committer drives the gateway's own committer without HTTP, in this process:
// the ceiling of what the gateway can reach, with batches or without.
func committer(ctx context.Context, broker string, callers int, batches bool, o load.Options) (load.Report, error) {
	nc, err := nats.Connect(broker, nats.ReconnectBufSize(-1), nats.FlusherTimeout(publishTimeout/2))
	if err != nil {
		return load.Report{}, fmt.Errorf("connect to broker: %w", err)
	}
	defer nc.Close()
	store, err := publish.New(nc, publish.Options{Timeout: publishTimeout, GroupCommit: func() bool { return batches }})
	if err != nil {
		return load.Report{}, fmt.Errorf("make committer: %w", err)
	}
	senders := make([]load.Send, callers)
	for i := range senders {
		senders[i] = func(ctx context.Context, p load.Payment) (int, string) {
			ctx, cancel := context.WithTimeout(ctx, publishTimeout)
			defer cancel()
			if m, err := message(p); err != nil || store.Store(ctx, m) != nil {
				return 0, "store"
			}
			return 200, ""
		}
	}
	return load.Drive(ctx, o, senders)
}

// message is the notification that the gateway writes for a payment's webhook,
// but that the payment's id is that of the notification too.
func message(p load.Payment) (publish.Message, error) {
	id := p.String()
	body, err := json.Marshal(record.Notification{
		ID: id, Provider: "picpay-checkout", Account: "default", Kind: order.Payment,
		Payment: id, Order: id, ReceivedAt: time.Now().UTC(),
		Trace:   "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
		Headers: map[string]string{"event-type": "TransactionUpdateMessage", "content-type": "application/json"},
		Fields:  map[string]string{"eventDate": "2024-07-01T16:00:00-03:00", "status": "AUTHORIZED"},
	})
	return publish.Message{ID: id, Subject: subject.Unit{Provider: "picpay-checkout", Account: "default", Payment: id}.Notification(), Body: body}, err
}
