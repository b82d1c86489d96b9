package fold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/chain"
	"arauto/workers/consume"
)

// position is how far a payment's log has been folded. It is a pure function
// of the two streams as long as the last event is the same.
type position struct {
	event    uint64 // ORDERS sequence of the payment's last event, 0 for none.
	last     *order.Event
	written  time.Time // When that event was stored, by the broker's clock.
	folded   uint64    // STATUSES sequence of the last folded observation.
	standing order.Standing
	assumed  bool // That there is no event yet, which nobody has read: only a guarded write may follow from it.
}

// beginning is the position before a payment's first observation, if that is
// the one in hand: its guard says so. Hardly any such payment has an event, and
// the guard of the event's own write finds the one that has.
func beginning(handled *jetstream.RawStreamMsg) (position, bool) {
	first := handled.Header.Get(jetstream.ExpectedLastSubjSeqHeader) == "0"
	return position{assumed: first}, first
}

// position is where folding goes on: behind the observation that the
// payment's last event names, or further if this worker remembers that what
// followed led to no event.
func (w *Worker) position(ctx context.Context, u subject.Unit) (position, error) {
	raw, err := w.orders.GetLastMsgForSubject(ctx, u.Events())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		raw = &jetstream.RawStreamMsg{}
	} else if err != nil {
		return position{}, fmt.Errorf("read last event: %w", err)
	}
	if known, ok := w.positions.Get(u.String()); ok && known.event == raw.Sequence {
		known.written = raw.Time
		return known, nil
	}
	if raw.Sequence == 0 {
		return position{}, nil
	}
	var last order.Event
	if err := json.Unmarshal(raw.Data, &last); err != nil {
		return position{}, fmt.Errorf("decode event %d: %w", raw.Sequence, err)
	}
	return position{event: raw.Sequence, last: &last, written: raw.Time, folded: last.Observation, standing: order.StandingOf(&last)}, nil
}

func observed(e *order.Event) uint64 {
	if e == nil {
		return 0
	}
	return e.Observation
}

// checkRecreated stops the worker when the log names an observation that
// STATUSES has not reached, or that is another one there: its numbers began anew,
// and skipping would lose transitions in silence. The second is only looked at
// where the broker's clock speaks for it, which may have been set back.
func (w *Worker) checkRecreated(ctx context.Context, u subject.Unit, at position, stored time.Time) error {
	if chain.Younger(stored, at.written) {
		same, err := w.same(ctx, u, at.last)
		if err != nil || same {
			return err
		}
		return &consume.Fatal{Err: fmt.Errorf("%s: %w", subject.Statuses, chain.ErrRecreated)}
	}
	info, err := w.statuses.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Statuses, err)
	}
	if at.last.Observation > info.State.LastSeq {
		return &consume.Fatal{Err: fmt.Errorf("%s: %w", subject.Statuses, chain.ErrRecreated)}
	}
	return nil
}

// same reports whether the observation that an event names is the one that it
// was folded from.
func (w *Worker) same(ctx context.Context, u subject.Unit, last *order.Event) (bool, error) {
	raw, err := w.statuses.GetMsg(ctx, last.Observation)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read observation %d: %w", last.Observation, err)
	}
	var seen order.Observation
	readable := json.Unmarshal(raw.Data, &seen) == nil
	return readable && raw.Subject == u.Status() && seen.AnsweredAt.Equal(last.ObservedAt), nil
}

// next reads the unit's first observation above the one that was folded last.
// Where the guard under which the handled one was written names that very one,
// nothing lies between them, and nothing needs to be read.
func (w *Worker) next(ctx context.Context, u subject.Unit, folded uint64, handled *jetstream.RawStreamMsg) (*jetstream.RawStreamMsg, error) {
	if guard := handled.Header.Get(jetstream.ExpectedLastSubjSeqHeader); guard != "" && guard == strconv.FormatUint(folded, 10) {
		return handled, nil
	}
	return w.statuses.GetMsg(ctx, folded+1, jetstream.WithGetMsgSubject(u.Status()))
}
