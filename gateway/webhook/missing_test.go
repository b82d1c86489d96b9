package webhook_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/topology/jetstreamtest"
	"arauto/gateway/webhook"
)

func TestMissingStreamRefusesABatchAtOnce(t *testing.T) {
	t.Parallel()
	c := groupOn(t, jetstreamtest.StartEmpty(t), nil)
	for i, err := range c.storeHeld(messages(100)...) {
		if !errors.Is(err, webhook.ErrMissing) {
			t.Errorf("message %d: %v", i, err)
		}
	}
}

// Another stream that has taken our subjects must not swallow what is meant
// for ours.
func TestAnotherStreamGetsNothing(t *testing.T) {
	t.Parallel()
	broker := jetstreamtest.StartEmpty(t)
	impostor, err := broker.JS.CreateStream(jetstreamtest.Context(t), jetstream.StreamConfig{
		Name: "IMPOSTOR", Subjects: []string{"notifications.>"}, AllowAtomicPublish: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := groupOn(t, broker, nil)
	for i, err := range c.storeHeld(messages(100)...) {
		if err == nil {
			t.Errorf("message %d is confirmed", i)
		}
	}
	info, err := impostor.Info(jetstreamtest.Context(t))
	if err != nil || info.State.Msgs > 0 {
		t.Errorf("it has %d messages, %v", info.State.Msgs, err)
	}
	if c.sum(batches) == 0 {
		t.Error("no batch was tried")
	}
}
