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

// Unreadable makes sure that a message of ORDERS that does not decode has a dead
// letter. It may run concurrently with everything else.
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

// deadLetter is Unreadable where the unit's last readable event is known, nil for none.
func (s *Sweeper) deadLetter(ctx context.Context, u subject.Unit, raw *jetstream.RawStreamMsg, last *order.Event) error {
	fresh, err := s.DeadLetters.Event(ctx, u, record.StageSweep, raw, last, s.Now())
	if err == nil && fresh {
		s.Metrics.unreadable.Inc()
		s.Log.Error("stored event does not decode", zap.String("unit", u.String()), zap.Uint64("sequence", raw.Sequence))
	}
	return err
}
