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
	return follow(ctx, b, subject.Orders, log, func(m jetstream.Msg) error {
		line, err := eventLine(m.Subject(), m.Data(), time.Now())
		if err == nil {
			s.print(line)
		}
		return err
	})
}

// follow calls show with every message of a stream from now on, until the returned
// function is called.
func follow(ctx context.Context, b *broker, stream string, log *zap.Logger, show func(jetstream.Msg) error) (func() error, error) {
	consumer, err := b.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	reading, err := consumer.Consume(func(m jetstream.Msg) {
		if err := show(m); err != nil {
			log.Warn("message cannot be shown", zap.String("subject", m.Subject()), zap.Error(err))
		}
	}, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		log.Info("stream is read again", zap.String("stream", stream), zap.Error(err)) // The consumer mends itself.
	}))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	return func() error {
		reading.Stop()
		<-reading.Closed()
		return nil
	}, nil
}

// eventLine is one order event as an aligned line: the number and kind of the
// transition, its sum, and the subject, which names provider, account, payment and
// order. It is cut at the end where it is too long. Ids that
// identify a person are hashed in the subject, and nothing that a terminal would
// obey is left.
func eventLine(on string, body []byte, now time.Time) (string, error) {
	var e order.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return "", fmt.Errorf("decode event: %w", err)
	}
	if tokens := strings.Count(on, ".") + 1; tokens != 6 {
		return "", fmt.Errorf("subject has %d tokens instead of 6", tokens)
	}
	moved := string(e.Status)
	if e.From != nil {
		moved = string(*e.From) + " -> " + moved
	}
	line := fmt.Sprintf("%s  #%-3d %-30s %13s  ", now.Format(clockFormat), e.Transition, moved, sum(e))
	return plain(line+on, maxLine), nil
}

// sum is the event's sum, the refunded one where there is one, and before it what is
// unusual about the event.
func sum(e order.Event) string {
	text := money(e.Amount)
	switch {
	case e.Amount == nil && !e.Confirmed:
		text = "" // Nobody could tell it.
	case e.Amount != nil && e.Amount.Refunded > 0:
		text = "refunded " + money(&order.Amount{Currency: e.Amount.Currency, Value: e.Amount.Refunded})
	}
	if !e.Confirmed {
		text = "unconfirmed " + text
	}
	if e.Correction {
		text = "correction " + text
	}
	return strings.TrimSpace(text)
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
