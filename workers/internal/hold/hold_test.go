package hold_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
	"arauto/workers/internal/hold"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// TestAHeldRoleRunsNoRoundAndPullsOnlyUntilItRests pauses the consumer of a role while a round
// runs: until the round ends the role pulls, then it rests, and after the hold it goes on.
func TestAHeldRoleRunsNoRoundAndPullsOnlyUntilItRests(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	consumer, err := b.JS.Consumer(b.Ctx, subject.Orders, subject.ExpectConsumer)
	b.Must(err)
	gate, errRan := hold.NewGate(consumer), errors.New("it ran")
	ran := func(context.Context) error { return errRan }
	if err := gate.Round(b.Ctx, ran); !errors.Is(err, errRan) {
		t.Errorf("a round that is not held gives %v", err)
	}
	err = gate.Round(b.Ctx, func(context.Context) error {
		_, err := b.JS.PauseConsumer(b.Ctx, subject.Orders, subject.ExpectConsumer, time.Now().Add(time.Hour))
		b.Must(err)
		b.Must(hold.NewGate(consumer).Round(b.Ctx, ran)) // Another process of the role has seen it.
		if got := gate.Limit(7); got != 7 {
			t.Errorf("a role that is held and not at rest pulls %d, want 7", got)
		}
		return nil
	})
	b.Must(err)
	if err := gate.Round(b.Ctx, ran); err != nil {
		t.Errorf("a round runs although it is held: %v", err)
	}
	if got := gate.Limit(7); got != 0 {
		t.Errorf("a role at rest pulls %d", got)
	}
	_, err = b.JS.ResumeConsumer(b.Ctx, subject.Orders, subject.ExpectConsumer)
	b.Must(err)
	b.Until("the role to pull again", func() bool { return gate.Limit(7) == 7 })
}
