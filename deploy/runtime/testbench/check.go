package testbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	cejs "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/schematest"
	"arauto/schemas/subject"
)

// checkStored holds what the test has stored to the contract: every event to the JSON
// Schema, to CloudEvents' own reader and to the numbering of transitions, and every dead
// letter to the JSON Schema.
func (b *Broker) checkStored() {
	if !b.Server.Running() {
		return
	}
	nc, err := nats.Connect(b.URL)
	if err != nil {
		b.T.Errorf("connect to check what is stored: %v", err)
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.T.Errorf("open jetstream to check what is stored: %v", err)
		return
	}
	last := map[string]uint64{}
	b.check(js, subject.Orders, subject.AllEvents, func(raw *jetstream.RawStreamMsg) error { return CheckEvent(raw, last) })
	b.check(js, subject.DeadLetters, subject.AllDeadLetters, func(raw *jetstream.RawStreamMsg) error { return schematest.DeadLetter(raw.Data) })
}

func (b *Broker) check(js jetstream.JetStream, name, filter string, broken func(*jetstream.RawStreamMsg) error) {
	ctx := context.Background() // The test's own has ended; server calls have their default timeout.
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return
	}
	if err == nil {
		_, err = stream.Each(ctx, s, filter, 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
			// What is no JSON was planted by a test; our code cannot encode it.
			if err := broken(raw); err != nil && json.Valid(raw.Data) {
				b.T.Errorf("message %d on %s: %v", raw.Sequence, raw.Subject, err)
			}
			return true, nil
		})
	}
	if err != nil {
		b.T.Errorf("read %s to check it: %v", name, err)
	}
}

// CheckEvent says how a stored event breaks the contract. last holds the
// number of each payment's last transition and is moved on.
func CheckEvent(raw *jetstream.RawStreamMsg, last map[string]uint64) error {
	if err := schematest.Event(raw.Data); err != nil {
		return fmt.Errorf("body breaks the schema: %w", err)
	}
	var e order.Event
	if err := json.Unmarshal(raw.Data, &e); err != nil {
		return fmt.Errorf("decode body: %w", err)
	}
	unit := e.Provider + "/" + e.Account + "/" + e.Payment
	if e.Transition != last[unit]+1 {
		return fmt.Errorf("transition %d follows %d", e.Transition, last[unit])
	}
	last[unit] = e.Transition
	message := cejs.NewMessage(&nats.Msg{Subject: raw.Subject, Header: raw.Header, Data: raw.Data})
	cloud, err := binding.ToEvent(context.Background(), message)
	if err != nil {
		return fmt.Errorf("CloudEvents cannot read it: %w", err)
	}
	if err := cloud.Validate(); err != nil {
		return fmt.Errorf("CloudEvents refuses it: %w", err)
	}
	if cloud.ID() != e.ID() || cloud.Type() != "arauto.order."+string(e.Status)+".v1" ||
		cloud.Source() != "/"+e.Provider+"/"+e.Account || fmt.Sprint(cloud.Extensions()["sequence"]) != fmt.Sprint(e.Transition) {
		return fmt.Errorf("CloudEvents reads it as %s", cloud.Context)
	}
	return nil
}
