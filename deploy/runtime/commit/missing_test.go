package commit_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/testbench"
)

func TestMissingStreamFailsABatchAtOnce(t *testing.T) {
	t.Parallel()
	c := startOn(t, testbench.StartEmpty(t), nil)
	for i, err := range c.storeBatched(messages(100)...) {
		if !errors.Is(err, commit.ErrMissing) {
			t.Errorf("message %d: %v", i, err)
		}
	}
}

// A stream that has taken the subjects of NOTIFICATIONS must not store its messages.
func TestOtherStreamOnTheSubjectsStoresNothing(t *testing.T) {
	t.Parallel()
	broker := testbench.StartEmpty(t)
	impostor, err := broker.JS.CreateStream(testbench.Context(t), jetstream.StreamConfig{
		Name: "IMPOSTOR", Subjects: []string{"notifications.>"}, AllowAtomicPublish: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := startOn(t, broker, nil)
	for i, err := range c.storeBatched(messages(100)...) {
		if err == nil {
			t.Errorf("message %d is confirmed", i)
		}
	}
	info, err := impostor.Info(testbench.Context(t))
	if err != nil || info.State.Msgs > 0 {
		t.Errorf("it has %d messages, %v", info.State.Msgs, err)
	}
	if c.batches.Load() == 0 {
		t.Error("no batch was tried")
	}
}
