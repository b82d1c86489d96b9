package testbench

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// Unit is a payment of the sandbox's account default.
func (b Bench) Unit(payment string) subject.Unit {
	return b.Tokens.Unit("sandbox", "default", payment)
}

// Stream opens a stream and reads its state.
func (b Bench) Stream(name string) jetstream.Stream {
	b.T.Helper()
	s, err := b.JS.Stream(b.Ctx, name)
	b.Must(err)
	return s
}

// Publish stores a document on a subject and returns its sequence.
func (b Bench) Publish(on string, document any) uint64 {
	b.T.Helper()
	body, err := json.Marshal(document)
	b.Must(err)
	ack, err := b.JS.Publish(b.Ctx, on, body)
	b.Must(err)
	return ack.Sequence
}

// Notify stores a notification as the gateway does, and returns its sequence. What is
// empty gets a default; the provider's is the sandbox.
func (b Bench) Notify(n record.Notification) uint64 {
	b.T.Helper()
	for field, value := range map[*string]string{&n.ID: uuid.NewString(), &n.Provider: "sandbox", &n.Account: "default"} {
		if *field == "" {
			*field = value
		}
	}
	if n.Kind == "" {
		n.Kind = order.Payment
	}
	if n.ReceivedAt.IsZero() {
		n.ReceivedAt = time.Now().UTC()
	}
	return b.Publish(b.Tokens.Unit(n.Provider, n.Account, n.Payment).Notification(), n)
}

// Messages reads what a stream holds on a filter, in order.
func (b Bench) Messages(name, filter string) []*jetstream.RawStreamMsg {
	b.T.Helper()
	var all []*jetstream.RawStreamMsg
	_, err := stream.Each(b.Ctx, b.Stream(name), filter, 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		all = append(all, raw)
		return true, nil
	})
	b.Must(err)
	return all
}

// Documents decodes what a stream holds on a filter, in order.
func Documents[T any](b Bench, name, filter string) []T {
	b.T.Helper()
	var all []T
	for _, raw := range b.Messages(name, filter) {
		var one T
		b.Must(json.Unmarshal(raw.Data, &one))
		all = append(all, one)
	}
	return all
}

// Delivered is a stored message as a consumer delivers it, so that a test can choose
// when, how often and in which order it is handled. It cannot be acknowledged.
type Delivered struct {
	jetstream.Msg
	*jetstream.RawStreamMsg

	Behind  uint64 // Messages pending behind it.
	Earlier uint64 // Deliveries before this one.
}

// Delivered reads a message of a stream.
func (b Bench) Delivered(name string, sequence uint64) *Delivered {
	b.T.Helper()
	raw, err := b.Stream(name).GetMsg(b.Ctx, sequence)
	b.Must(err)
	return &Delivered{RawStreamMsg: raw}
}

// Subject is the subject on which the message is stored.
func (d *Delivered) Subject() string { return d.RawStreamMsg.Subject }

// Data is the body.
func (d *Delivered) Data() []byte { return d.RawStreamMsg.Data }

// Headers are the stored ones.
func (d *Delivered) Headers() nats.Header { return d.Header }

// Metadata has the sequence and the time of the stored message.
func (d *Delivered) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{
		Sequence: jetstream.SequencePair{Stream: d.Sequence}, Timestamp: d.Time, NumPending: d.Behind, NumDelivered: d.Earlier + 1,
	}, nil
}

// Go runs an actor until the test ends, and wants it to end without an error then.
func (b Bench) Go(name string, actor func(context.Context) error) {
	ctx, stop := context.WithCancel(b.Ctx)
	done := make(chan error, 1)
	go func() { done <- actor(ctx) }()
	b.T.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.T.Errorf("%s: %v", name, err)
		}
	})
}

// ForgetIDs shortens a stream's duplicate window, and returns once the ids of all messages
// that are stored by now are forgotten. probe is a subject of the stream on which a
// message may be stored.
//
// The window is set twice: nats-server 2.15.3 (server/stream.go, updateWithAdvisory) wakes
// the timer that removes ids before it sets the new window, so the timer may go on with
// the old one. Before the second update may go, check that it sets the window first.
func (b Bench) ForgetIDs(name, probe string, document any) {
	b.T.Helper()
	config := b.Stream(name).CachedInfo().Config
	for config.Duplicates = 101 * time.Millisecond; config.Duplicates >= 100*time.Millisecond; config.Duplicates -= time.Millisecond {
		_, err := b.JS.UpdateStream(b.Ctx, config)
		b.Must(err)
	}
	body, err := json.Marshal(document)
	b.Must(err)
	for stored := 0; stored < 2; { // A message that is stored a second time was stored after all the others.
		ack, err := b.JS.Publish(b.Ctx, probe, body, jetstream.WithMsgID("probe"))
		b.Must(err)
		if !ack.Duplicate {
			stored++
		}
	}
}
