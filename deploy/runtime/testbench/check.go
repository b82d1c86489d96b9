package testbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	cejs "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/schematest"
	"arauto/schemas/subject"
)

// checkStored holds what the test has stored to the contract: every event to the JSON
// Schema, to CloudEvents' own reader and to the numbering of transitions, and every dead
// letter and audit entry to the JSON Schema.
func (b *Broker) checkStored() {
	if !b.Server.Running() {
		return
	}
	_, js := Connect(b.T, b.URL)                              // The test's own may be closed.
	after := Bench{T: b.T, Ctx: context.Background(), JS: js} // The test's own has ended; requests have their default timeout.
	last := map[string]uint64{}
	after.check(subject.Orders, subject.AllEvents, func(raw *jetstream.RawStreamMsg) error { return CheckEvent(raw, last) })
	after.check(subject.DeadLetters, subject.AllDeadLetters, func(raw *jetstream.RawStreamMsg) error { return schematest.DeadLetter(raw.Data) })
	after.check(subject.Outcomes, subject.AllOutcomes, func(raw *jetstream.RawStreamMsg) error { return schematest.Outcome(raw.Data) })
	after.check(subject.Audit, subject.AllAudit, func(raw *jetstream.RawStreamMsg) error { return schematest.Audit(raw.Data) })
}

func (b Bench) check(name, filter string, broken func(*jetstream.RawStreamMsg) error) {
	if _, err := b.JS.Stream(b.Ctx, name); errors.Is(err, jetstream.ErrStreamNotFound) {
		return
	}
	for _, raw := range b.Messages(name, filter) {
		// What is no JSON was planted by a test; our code cannot encode it.
		if err := broken(raw); err != nil && json.Valid(raw.Data) {
			b.T.Errorf("message %d on %s: %v", raw.Sequence, raw.Subject, err)
		}
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
		!strings.HasSuffix(cloud.Source(), "/"+e.Provider+"/"+e.Account) || fmt.Sprint(cloud.Extensions()["sequence"]) != fmt.Sprint(e.Transition) {
		return fmt.Errorf("CloudEvents reads it as %s", cloud.Context)
	}
	return nil
}
