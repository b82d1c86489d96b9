package jetstreamtest

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/schematest"
	"arauto/schemas/subject"
)

// checkLetters holds every dead letter that the test has stored to the JSON
// Schema.
func (b *Broker) checkLetters() {
	if !b.Server.Running() {
		return
	}
	nc, err := nats.Connect(b.URL)
	if err != nil {
		b.t.Errorf("connect to check dead letters: %v", err)
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.t.Errorf("open jetstream to check dead letters: %v", err)
		return
	}
	ctx := context.Background() // The test's own has ended; server calls have their default timeout.
	dead, err := js.Stream(ctx, subject.DeadLetters)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return
	}
	if err != nil {
		b.t.Errorf("open stream to check dead letters: %v", err)
		return
	}
	_, err = stream.Each(ctx, dead, subject.AllDeadLetters, 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		// What is no JSON was planted by a test; our code cannot encode it.
		if err := schematest.DeadLetter(raw.Data); err != nil && json.Valid(raw.Data) {
			b.t.Errorf("dead letter %d on %s breaks the schema: %v", raw.Sequence, raw.Subject, err)
		}
		return true, nil
	})
	if err != nil {
		b.t.Errorf("read dead letters: %v", err)
	}
}
