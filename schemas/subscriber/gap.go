package subscriber

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// Cause says why transitions of a payment were not delivered before a later one.
type Cause string

// The causes.
const (
	// Missed means that the last of them is stored and acked, but this Run has not handled
	// it: another process did, or the consumer was reset past it. Reset it back, or use Replay.
	Missed Cause = "missed"
	// Compacted means that they are not stored any more: the payment has not moved for long,
	// and only its last event was kept.
	Compacted Cause = "compacted"
	// BegunLate means that the last of them is stored before the consumer's first event, or on
	// a subject that its filter leaves out. Replay reads it.
	BegunLate Cause = "begun late"
)

// Gap is the error of transitions that were not delivered before the event that it is
// reported with. Both numbers are included.
type Gap struct {
	From, To uint64
	Cause    Cause
}

func (g *Gap) Error() string {
	return fmt.Sprintf("transitions %d to %d of the payment were not delivered: %s", g.From, g.To, g.Cause)
}

// reportGap reports the gap before an event, or that it could not be looked for: then the
// handler is called all the same.
func (r *run) reportGap(e Event) {
	if e.Late() || e.Transition <= e.After+1 {
		return
	}
	ctx, cancel := context.WithTimeout(r.pulling, gapTimeout)
	defer cancel()
	cause, err := r.cause(ctx, e)
	if err != nil {
		err = fmt.Errorf("look for a gap: %w", err)
	} else if cause != "" {
		err = &Gap{From: e.After + 1, To: e.Transition - 1, Cause: cause}
	}
	if err != nil && r.pulling.Err() == nil {
		r.Report(e, err)
	}
}

// cause looks why the transition before e was not delivered. It is "" if an earlier process
// has handled it, or if it may still be delivered.
func (r *run) cause(ctx context.Context, e Event) (Cause, error) {
	stream, err := r.js.Stream(ctx, subject.Orders)
	if err != nil {
		return "", err
	}
	before, err := stored(ctx, stream, e.latest+1, e.unit.Events())
	for err == nil && before != nil && before.Sequence < e.Sequence {
		if body, unreadable := order.ReadEvent(before.Data); unreadable == nil && body.Transition == e.Transition-1 {
			break
		}
		before, err = stored(ctx, stream, before.Sequence+1, e.unit.Events())
	}
	if err != nil {
		return "", err
	}
	if before == nil || before.Sequence >= e.Sequence {
		return Compacted, nil
	}
	consumer, err := r.js.Consumer(ctx, subject.Orders, r.Consumer)
	if err != nil {
		return "", err
	}
	info := consumer.CachedInfo()
	start := info.Config
	delivered, err := passes(ctx, stream, start, before.Sequence)
	switch {
	case err != nil:
		return "", err
	case !delivered, before.Sequence < start.OptStartSeq, start.OptStartTime != nil && before.Time.Before(*start.OptStartTime),
		start.DeliverPolicy != jetstream.DeliverAllPolicy && start.OptStartSeq == 0 && start.OptStartTime == nil && before.Time.Before(info.Created):
		return BegunLate, nil
	case e.After == 0 || before.Sequence > info.AckFloor.Stream:
		return "", nil
	}
	return Missed, nil
}

// passes has the broker say whether a consumer's filters leave in the event of a sequence.
func passes(ctx context.Context, s jetstream.Stream, c jetstream.ConsumerConfig, sequence uint64) (bool, error) {
	filters := slices.DeleteFunc(append(slices.Clone(c.FilterSubjects), c.FilterSubject), func(f string) bool { return f == "" })
	for _, f := range filters {
		if raw, err := stored(ctx, s, sequence, f); err != nil || raw != nil && raw.Sequence == sequence {
			return true, err
		}
	}
	return len(filters) == 0, nil
}
