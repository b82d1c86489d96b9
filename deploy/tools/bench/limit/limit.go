// Package limit measures the broker without HTTP: as many callers as there
// would be connections hand finished notifications to the gateway's own
// publisher. What the gateway reaches of it is what HTTP leaves.
package limit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/tools/bench/load"
	"arauto/gateway/publish"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// budget is how long a message may take, as in the gateway.
const budget = 800 * time.Millisecond

// The ids that stand in the template for those of each message.
const (
	idTemplate      = "01999999-9999-7999-8999-999999999999"
	paymentTemplate = "61e35ec2-caa8-4598-9999-999999999999"
	trace           = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
)

// Run stores with that many callers until the span is over. Begin and End go
// to out, see load.Drive.
func Run(ctx context.Context, out io.Writer, url string, callers int, span load.Span) (load.Report, error) {
	nc, err := nats.Connect(url, nats.ReconnectBufSize(-1), nats.FlusherTimeout(budget/2))
	if err != nil {
		return load.Report{}, fmt.Errorf("connect to broker: %w", err)
	}
	defer nc.Close()
	publisher, err := publish.New(nc, publish.Options{Timeout: budget, GroupCommit: func() bool { return true }})
	if err != nil {
		return load.Report{}, fmt.Errorf("make publisher: %w", err)
	}
	body, err := template()
	if err != nil {
		return load.Report{}, err
	}
	return load.Drive(ctx, out, span, callers, func(ctx context.Context, i int, t *load.Tally) {
		for n := uint64(0); ctx.Err() == nil && !t.Over(); n++ {
			m := message(body, uint16(i), n)
			sent := t.Now()
			err := store(ctx, publisher, m)
			r := load.Result{Due: sent, Sent: sent, Done: t.Now(), Status: 200}
			if err != nil {
				r.Status, r.Problem = 0, err.Error()
			}
			t.Answered(r)
		}
	})
}

func store(ctx context.Context, p publish.Publisher, m publish.Message) error {
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	return p.Store(ctx, m)
}

// template is a notification as the gateway writes it for the same webhook.
func template() ([]byte, error) {
	body, err := json.Marshal(record.Notification{
		ID: idTemplate, Provider: "picpay-checkout", Account: "default", Kind: order.Payment,
		Payment: paymentTemplate, Order: paymentTemplate, ReceivedAt: time.Now().UTC(), Trace: trace,
		Headers: map[string]string{"event-type": "TransactionUpdateMessage", "content-type": "application/json"},
		Fields:  map[string]string{"eventDate": "2024-07-01T16:00:00-03:00", "status": "AUTHORIZED"},
	})
	if err != nil {
		return nil, fmt.Errorf("encode notification: %w", err)
	}
	return body, nil
}

// message is the nth one of a caller, with ids of its own.
func message(body []byte, caller uint16, n uint64) publish.Message {
	payment := load.PaymentID(caller, n)
	id := strings.Replace(payment, payment[:19], idTemplate[:19], 1)
	own := bytes.ReplaceAll(body, []byte(paymentTemplate), []byte(payment))
	own = bytes.Replace(own, []byte(idTemplate), []byte(id), 1)
	unit := subject.Unit{Provider: "picpay-checkout", Account: "default", Payment: payment}
	return publish.Message{ID: id, Subject: unit.Notification(), Body: own}
}
