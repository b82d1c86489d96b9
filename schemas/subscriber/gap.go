package subscriber

import (
	"context"
	"errors"
	"fmt"
	"strings"

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

// gap looks why the transitions before e were not delivered. It returns nil if there are none,
// if an earlier process has handled them, or if they may still be delivered.
func (r *run) gap(ctx context.Context, e Event, m jetstream.Msg) (*Gap, error) {
	if e.Transition <= e.After+1 {
		return nil, nil
	}
	g := &Gap{From: e.After + 1, To: e.Transition - 1, Cause: Compacted}
	on, err := subject.ParseEvent(m.Subject())
	if err != nil {
		return nil, fmt.Errorf("look for a gap: %w", err)
	}
	stream, err := r.js.Stream(ctx, subject.Orders)
	if err != nil {
		return nil, fmt.Errorf("look for a gap: %w", err)
	}
	for from := uint64(1); from < e.Sequence; {
		stored, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(on.Unit.Events()))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("look for a gap: %w", err)
		}
		from = stored.Sequence + 1
		before, err := order.ReadEvent(stored.Data)
		if stored.Sequence < e.Sequence && err == nil && before.Transition == g.To {
			return r.notDelivered(ctx, g, e, stored)
		}
	}
	return g, nil
}

// notDelivered says why the transition before e, which is stored, was not delivered.
func (r *run) notDelivered(ctx context.Context, g *Gap, e Event, stored *jetstream.RawStreamMsg) (*Gap, error) {
	consumer, err := r.js.Consumer(ctx, subject.Orders, r.Consumer)
	if err != nil {
		return nil, fmt.Errorf("look for a gap: %w", err)
	}
	info := consumer.CachedInfo()
	switch start := info.Config; {
	case stored.Sequence < start.OptStartSeq,
		start.OptStartTime != nil && stored.Time.Before(*start.OptStartTime),
		start.DeliverPolicy != jetstream.DeliverAllPolicy && start.OptStartSeq == 0 && start.OptStartTime == nil && stored.Time.Before(info.Created),
		!delivers(start, stored.Subject):
		g.Cause = BegunLate
	case e.After == 0 || stored.Sequence > info.AckFloor.Stream:
		return nil, nil // An earlier process has handled it, or it is still to be delivered.
	default:
		g.Cause = Missed
	}
	return g, nil
}

// delivers reports whether a consumer's filters leave a subject in.
func delivers(c jetstream.ConsumerConfig, on string) bool {
	filters := c.FilterSubjects
	if c.FilterSubject != "" {
		filters = append(filters, c.FilterSubject)
	}
	for _, f := range filters {
		if matches(strings.Split(f, "."), strings.Split(on, ".")) {
			return true
		}
	}
	return len(filters) == 0
}

func matches(filter, tokens []string) bool {
	for i, f := range filter {
		if f == ">" {
			return len(tokens) > i
		}
		if i >= len(tokens) || f != "*" && f != tokens[i] {
			return false
		}
	}
	return len(filter) == len(tokens)
}
