package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// Read takes everything out of the streams. It is a moment of the system only
// if nothing writes meanwhile.
func Read(ctx context.Context, js jetstream.JetStream) (Streams, error) {
	var s Streams
	var err error
	if s.Notifications, err = readAll[record.Notification](ctx, js, subject.Notifications); err != nil {
		return s, err
	}
	if s.Observations, err = readAll[order.Observation](ctx, js, subject.Statuses); err != nil {
		return s, err
	}
	if s.Events, err = readAll[order.Event](ctx, js, subject.Orders); err != nil {
		return s, err
	}
	if s.Letters, err = readAll[record.DeadLetter](ctx, js, subject.DeadLetters); err != nil {
		return s, err
	}
	if s.Parked, err = ReadParked(ctx, js); err != nil {
		return s, err
	}
	s.Fired, err = readWaiting(ctx, js, subject.AllDue)
	s.Read = time.Now()
	return s, err
}

// readAll reads a stream from its first message to the last one it has now.
func readAll[T any](ctx context.Context, js jetstream.JetStream, name string) ([]Stored[T], error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", name, err)
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return nil, nil
	}
	consumer, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", name, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", name, err)
	}
	defer messages.Stop()
	all := make([]Stored[T], 0, state.Msgs)
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", name, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("read message metadata: %w", err)
		}
		one := Stored[T]{Sequence: meta.Sequence.Stream, At: meta.Timestamp}
		if err := json.Unmarshal(m.Data(), &one.Record); err != nil {
			return nil, fmt.Errorf("decode message %d of %s: %w", one.Sequence, name, err)
		}
		all = append(all, one)
		if one.Sequence >= state.LastSeq || meta.NumPending == 0 {
			return all, nil
		}
	}
}

// ReadParked takes the schedules out that have not fired.
func ReadParked(ctx context.Context, js jetstream.JetStream) ([]Stored[record.ScheduledLookUp], error) {
	return readWaiting(ctx, js, subject.AllScheduled)
}

// readWaiting reads one kind of subject of LOOKUP_RETRIES, message by message:
// its retention allows no second consumer.
func readWaiting(ctx context.Context, js jetstream.JetStream, filter string) ([]Stored[record.ScheduledLookUp], error) {
	retries, err := js.Stream(ctx, subject.LookupRetries)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.LookupRetries, err)
	}
	var all []Stored[record.ScheduledLookUp]
	_, err = stream.Each(ctx, retries, filter, 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		one := Stored[record.ScheduledLookUp]{Sequence: raw.Sequence, At: raw.Time}
		err := json.Unmarshal(raw.Data, &one.Record)
		all = append(all, one)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", subject.LookupRetries, err)
	}
	return all, nil
}
