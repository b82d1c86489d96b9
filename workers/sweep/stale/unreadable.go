package stale

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
)

// Unreadable stores a dead letter about a message of ORDERS that does not decode. It may
// run concurrently with the other methods.
func (s *Sweeper) Unreadable(ctx context.Context, raw *jetstream.RawStreamMsg) error {
	unit, err := subject.ParseUnit(raw.Subject)
	if err != nil {
		return err
	}
	log, err := observations.OrderLog(ctx, s.orders, unit)
	if err != nil {
		return err
	}
	return s.deadLetter(ctx, unit, raw, log.Last)
}

// deadLetter is Unreadable with the unit's last readable event, nil for none.
func (s *Sweeper) deadLetter(ctx context.Context, u subject.Unit, raw *jetstream.RawStreamMsg, last *order.Event) error {
	fresh, err := s.DeadLetters.Event(ctx, u, record.StageSweep, raw, last, s.Now())
	if err == nil && fresh {
		s.Metrics.unreadable.Inc()
		s.Log.Error("event.unreadable", zap.String("unit", u.String()), zap.Uint64("sequence", raw.Sequence))
	}
	return err
}
