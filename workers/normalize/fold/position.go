package fold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/observations"
)

// position is how far a payment's log has been folded. It is a pure function
// of the two streams as long as the last event is the same.
type position struct {
	event    uint64       // ORDERS sequence of the last message of the payment's log, 0 for none.
	last     *order.Event // Its last readable event, nil for none.
	written  time.Time    // When that event was stored, by the broker's clock.
	folded   uint64       // STATUSES sequence of the last folded observation.
	standing order.Standing
	assumed  bool // That there is no event yet, which nobody has read: only a guarded write may follow from it.

	// The highest number in the log, and the ids of the events that the unreadable
	// messages behind the last readable event announce.
	number    uint64
	announced map[string]bool
}

// rewound is the position of the log itself, without what this worker folded
// behind it.
func (p position) rewound() position {
	paid := p.standing.EverPaid()
	p.folded, p.standing = observed(p.last), order.StandingOf(p.last)
	if paid {
		p.standing = p.standing.Paid()
	}
	return p
}

// beginning is the position before a payment's first observation, if that is
// the one in hand: its guard says so. Hardly any such payment has an event, and
// the guard of the event's own write finds the one that has.
func beginning(handled *jetstream.RawStreamMsg) (position, bool) {
	first := handled.Header.Get(jetstream.ExpectedLastSubjSeqHeader) == "0"
	return position{assumed: first}, first
}

// position is where folding goes on: behind the observation that the payment's
// last readable event names, or further if this worker remembers that what
// followed led to no event. Unreadable messages of the log get dead letters.
func (w *Worker) position(ctx context.Context, u subject.Unit) (position, error) {
	log, err := observations.OrderLog(ctx, w.orders, u)
	if err != nil {
		return position{}, err
	}
	if known, ok := w.positions.Get(u.String()); ok && known.event == log.Sequence {
		known.written = log.Stored
		return known, nil
	}
	for _, raw := range log.Unreadable {
		fresh, err := w.DeadLetters.Event(ctx, u, record.StageNormalize, raw, log.Last, w.Now())
		if err != nil {
			return position{}, err
		}
		if fresh {
			w.Metrics.unreadable.Inc()
			w.Log.Error("stored event does not decode, the payment goes on from its last readable one",
				zap.String("unit", u.String()), zap.Uint64("sequence", raw.Sequence))
		}
	}
	at := position{event: log.Sequence, last: log.Last, written: log.Stored}
	at.number, at.announced = numbers(log)
	at = at.rewound()
	if log.Last != nil && log.Last.Correction && !at.standing.EverPaid() {
		// A correction leads back to before the payment was paid, and its event alone does
		// not say that it ever was.
		paid, err := w.everPaid(ctx, u, log.Sequence)
		if err != nil {
			return position{}, err
		}
		if paid {
			at.standing = at.standing.Paid()
		}
	}
	return at, nil
}

// everPaid reports whether an event of the payment, up to a sequence, says that money
// was captured.
func (w *Worker) everPaid(ctx context.Context, u subject.Unit, upTo uint64) (paid bool, err error) {
	err = w.events(ctx, u, upTo, func(e order.Event) { paid = paid || order.StandingOf(&e).EverPaid() })
	return paid, err
}

// events reads the payment's events that decode, up to a sequence.
func (w *Worker) events(ctx context.Context, u subject.Unit, upTo uint64, visit func(order.Event)) error {
	_, err := stream.Each(ctx, w.orders, u.Events(), 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		var e order.Event
		if raw.Sequence <= upTo && json.Unmarshal(raw.Data, &e) == nil {
			visit(e)
		}
		return raw.Sequence < upTo, nil
	})
	return err
}

// numbers reads the headers of the unreadable messages behind the last readable
// event. Such a message may be an event of a newer version, which subscribers of
// that version have read. So its number, if it is the next one, is not given out
// again, and an observation that it announces is not announced again.
func numbers(log observations.Log) (highest uint64, announced map[string]bool) {
	if log.Last != nil {
		highest = log.Last.Transition
	}
	for _, raw := range log.Unreadable {
		if raw.Sequence < log.At {
			continue
		}
		n, err := strconv.ParseUint(raw.Header.Get("ce-sequence"), 10, 32) // 32 bits: a stranger's number must not overflow the next one.
		if err == nil && (n == highest+1 || highest == 0) {
			highest = n
		}
		if id := raw.Header.Get("ce-id"); id != "" {
			if announced == nil {
				announced = map[string]bool{}
			}
			announced[id] = true
		}
	}
	return highest, announced
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
	if observations.StoredAfter(stored, at.written) {
		same, err := w.same(ctx, u, at.last)
		if err != nil || same {
			return err
		}
		return &consume.Fatal{Err: fmt.Errorf("%s: %w", subject.Statuses, observations.ErrRecreated)}
	}
	info, err := w.statuses.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Statuses, err)
	}
	if at.last.Observation > info.State.LastSeq {
		return &consume.Fatal{Err: fmt.Errorf("%s: %w", subject.Statuses, observations.ErrRecreated)}
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
