package fold

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/observations"
)

// position is how far a payment's observations have been folded. While the last event
// stays the same, it depends on nothing but the two streams.
type position struct {
	event        uint64       // ORDERS sequence of the last message of the payment's log, 0 for none.
	last         *order.Event // Its last readable event, nil for none.
	folded       uint64       // STATUSES sequence of the last folded observation.
	standing     order.Standing
	assumedEmpty bool // The log was not read: only a compare-and-append may follow.

	// The highest transition number in the log, and the ids of the events that the
	// unreadable messages behind the last readable event announce.
	number    uint64
	announced map[string]bool
}

// atLastEvent returns the position right behind the log's last event, without what this
// worker folded since.
func (p position) atLastEvent() position {
	paid := p.standing.EverPaid()
	p.folded, p.standing = observationOf(p.last), order.StandingOf(p.last)
	if paid {
		p.standing = p.standing.Paid()
	}
	return p
}

// firstPosition returns the position before a payment's first observation, if the
// handled one is that: it was written with expected sequence 0. An event of such a
// payment, which is rare, is found by the compare-and-append.
func firstPosition(handled *jetstream.RawStreamMsg) (position, bool) {
	first := handled.Header.Get(jetstream.ExpectedLastSubjSeqHeader) == "0"
	return position{assumedEmpty: first}, first
}

// position returns where folding goes on: behind the observation that the payment's last
// readable event names, or further if this worker remembers that later observations led to
// no event. It stores dead letters for unreadable messages of the log.
func (w *Worker) position(ctx context.Context, u subject.Unit) (position, error) {
	log, err := observations.OrderLog(ctx, w.orders, u)
	if err != nil {
		return position{}, err
	}
	if known, ok := w.positions.Get(u.String()); ok && known.event == log.Sequence {
		return known, nil
	}
	for _, raw := range log.Unreadable {
		fresh, err := w.DeadLetters.Event(ctx, u, record.StageNormalize, raw, log.Last, w.Now())
		if err != nil {
			return position{}, err
		}
		if fresh {
			w.Metrics.unreadable.Inc()
			w.Log.Error("event.decode_failed",
				zap.String("unit", u.String()), zap.Uint64("sequence", raw.Sequence))
		}
	}
	at := position{event: log.Sequence, last: log.Last}
	at.number, at.announced = numbers(log)
	at = at.atLastEvent()
	if log.Last != nil && log.Last.Correction && !at.standing.EverPaid() {
		// A correction may lead back to a status before paid, so its event alone does not
		// say whether the payment was ever paid.
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

// events calls visit for the payment's readable events, up to a sequence.
func (w *Worker) events(ctx context.Context, u subject.Unit, upTo uint64, visit func(order.Event)) error {
	return stream.EachFew(ctx, w.orders, u.Events(), 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		var e order.Event
		if raw.Sequence <= upTo && json.Unmarshal(raw.Data, &e) == nil {
			visit(e)
		}
		return raw.Sequence < upTo, nil
	})
}

// numbers reads the headers of the unreadable messages behind the last readable event.
// Such a message may be an event of a newer version, which its subscribers have read.
// So its transition number, if it is the next one, is not used again, and its event is
// not published again.
func numbers(log observations.Log) (highest uint64, announced map[string]bool) {
	if log.Last != nil {
		highest = log.Last.Transition
	}
	for _, raw := range log.Unreadable {
		if raw.Sequence < log.At {
			continue
		}
		n, err := strconv.ParseUint(raw.Header.Get("ce-sequence"), 10, 32) // 32 bits, so that the next number cannot overflow.
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

// observationOf is the STATUSES sequence that an event was folded from, 0 for no event.
func observationOf(e *order.Event) uint64 {
	if e == nil {
		return 0
	}
	return e.Observation
}

// checkRecreated returns a fatal error if the observation that the log's last event names
// is not the one that the event was folded from. Then STATUSES was recreated or has lost
// its end, and folding behind that sequence would skip transitions. The observation cannot
// have expired: the handled one, or the one before it, is older and is still stored.
func (w *Worker) checkRecreated(ctx context.Context, u subject.Unit, last *order.Event) error {
	raw, err := stream.At(ctx, w.statuses, u.Status(), last.Observation)
	if err != nil {
		return fmt.Errorf("read observation %d: %w", last.Observation, err)
	}
	var seen order.Observation
	if raw != nil && raw.Subject == u.Status() && json.Unmarshal(raw.Data, &seen) == nil && seen.AnsweredAt.Equal(last.ObservedAt) {
		return nil
	}
	return &consume.Fatal{Err: fmt.Errorf("%s: %w", subject.Statuses, observations.ErrRecreated)}
}

// skips reports whether the handled observation was appended behind an observation below
// the last folded one. Then STATUSES was recreated: otherwise its expected sequence would
// be the folded one or a later one.
func skips(handled *jetstream.RawStreamMsg, folded uint64) bool {
	expected, err := strconv.ParseUint(handled.Header.Get(jetstream.ExpectedLastSubjSeqHeader), 10, 64)
	return err == nil && expected > 0 && expected < folded // 0 also when all earlier ones have expired.
}

// next returns the unit's first observation above the folded one. If the handled
// observation was written with folded as its expected sequence, it is the next one and
// nothing is read. nil means that there is none.
func (w *Worker) next(ctx context.Context, u subject.Unit, folded uint64, handled *jetstream.RawStreamMsg) (*jetstream.RawStreamMsg, error) {
	if expected := handled.Header.Get(jetstream.ExpectedLastSubjSeqHeader); expected != "" && expected == strconv.FormatUint(folded, 10) {
		return handled, nil
	}
	return stream.NextOrNone(ctx, w.statuses, u.Status(), folded)
}
