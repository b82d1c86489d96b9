package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// showEvents prints every order event from now on as it is stored. It reads
// the stream and not the subject, because a publish that the stream's guard
// refuses is on the subject too. The returned function ends it.
func showEvents(ctx context.Context, b *broker, s *screen, log *zap.Logger) (func() error, error) {
	consumer, err := b.js.OrderedConsumer(ctx, subject.Orders, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverNewPolicy,
	})
	if err != nil {
		return nil, fmt.Errorf("read order events: %w", err)
	}
	reading, err := consumer.Consume(func(m jetstream.Msg) {
		line, err := eventLine(m.Subject(), m.Data(), time.Now())
		if err != nil {
			log.Warn("order event cannot be shown", zap.String("subject", m.Subject()), zap.Error(err))
			return
		}
		s.print(line)
	}, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		log.Info("order events are read again", zap.Error(err)) // The consumer mends itself.
	}))
	if err != nil {
		return nil, fmt.Errorf("read order events: %w", err)
	}
	return func() error {
		reading.Stop()
		<-reading.Closed()
		return nil
	}, nil
}

// eventLine is one order event as an aligned line. The order is shown as the
// subject has it: ids that identify a person are hashed there, and nothing
// that a terminal would obey is left.
func eventLine(on string, body []byte, now time.Time) (string, error) {
	var e order.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return "", fmt.Errorf("decode event: %w", err)
	}
	tokens := strings.Split(on, ".")
	if len(tokens) != 6 {
		return "", fmt.Errorf("subject has %d tokens instead of 6", len(tokens))
	}
	moved := string(e.Status)
	if e.From != nil {
		moved = string(*e.From) + " -> " + moved
	}
	confirmed := "confirmed"
	if !e.Confirmed {
		confirmed = "unconfirmed"
	}
	line := fmt.Sprintf("%s  %-15s %-8s %-20s #%-3d %-32s %14s  %-11s  %s", now.Format(clockFormat),
		plain(e.Provider, 15), plain(e.Account, 16), plain(tokens[4], 20), e.Transition, plain(moved, 48), money(e.Amount), confirmed, plain(on, maxLine))
	if e.Amount != nil && e.Amount.Refunded > 0 {
		line += "  refunded " + money(&order.Amount{Currency: e.Amount.Currency, Value: e.Amount.Refunded})
	}
	return line, nil
}

// money writes an amount as Brazilians do: R$ 1.234,50. It is "-" for none.
func money(a *order.Amount) string {
	if a == nil {
		return "-"
	}
	sign, cents := "", strconv.FormatInt(a.Value, 10)
	if a.Value < 0 {
		sign, cents = "-", cents[1:]
	}
	for len(cents) < 3 {
		cents = "0" + cents
	}
	whole, text := cents[:len(cents)-2], ","+cents[len(cents)-2:]
	for len(whole) > 3 {
		whole, text = whole[:len(whole)-3], "."+whole[len(whole)-3:]+text
	}
	currency := plain(a.Currency, 3)
	if currency == "BRL" {
		currency = "R$"
	}
	return currency + " " + sign + whole + text
}
