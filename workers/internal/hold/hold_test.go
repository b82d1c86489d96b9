package hold_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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

// slow is a consumer whose broker takes its time, or does not answer.
type slow struct {
	jetstream.Consumer
	asked chan chan error // Gets a channel for each question, which takes the answer; nil: the broker's.
}

func (s *slow) Info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	if s.asked == nil {
		return s.Consumer.Info(ctx)
	}
	answer := make(chan error)
	s.asked <- answer
	if err := <-answer; err != nil {
		return nil, err
	}
	return s.Consumer.Info(ctx)
}

// TestRoleAtRestPullsNothingWhateverTheBrokerTakes keeps a role that only asks whether it is
// held from being taken for work, by which arauto hold and arauto backup would fail.
func TestRoleAtRestPullsNothingWhateverTheBrokerTakes(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	consumer, err := b.JS.Consumer(b.Ctx, subject.Orders, subject.ExpectConsumer)
	b.Must(err)
	_, err = b.JS.PauseConsumer(b.Ctx, subject.Orders, subject.ExpectConsumer, time.Now().Add(time.Hour))
	b.Must(err)
	s := &slow{Consumer: consumer}
	gate := hold.NewGate(s)
	if got := gate.Limit(7); got != 0 {
		t.Fatalf("a held role pulls %d", got)
	}
	s.asked = make(chan chan error)
	ended := make(chan error)
	go func() {
		ended <- gate.Round(b.Ctx, func(context.Context) error { return errors.New("it ran") })
	}()
	read := <-s.asked
	limited := make(chan int)
	go func() { limited <- gate.Limit(7) }()
	select {
	case got := <-limited: // What was read a moment ago still counts.
		if got != 0 {
			t.Errorf("while a round reads, a held role pulls %d", got)
		}
	case answer := <-s.asked:
		answer <- errors.New("no answer")
		if got := <-limited; got != 0 {
			t.Errorf("while a round reads and the broker does not answer, a held role pulls %d", got)
		}
	}
	read <- nil
	b.Must(<-ended)
	b.Until("a role whose broker does not answer", func() bool {
		go func() { limited <- gate.Limit(7) }()
		select {
		case got := <-limited:
			if got != 0 {
				t.Errorf("a held role pulls %d", got)
			}
			return false
		case answer := <-s.asked:
			answer <- errors.New("no answer")
			if got := <-limited; got != 0 {
				t.Errorf("without an answer a held role pulls %d", got)
			}
			return true
		}
	})
}

// TestRoleWhoseConsumerIsGonePulls deletes the consumer of a role that is held. Only by pulling
// does the role notice that, and end.
func TestRoleWhoseConsumerIsGonePulls(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	consumer, err := b.JS.Consumer(b.Ctx, subject.Orders, subject.ExpectConsumer)
	b.Must(err)
	_, err = b.JS.PauseConsumer(b.Ctx, subject.Orders, subject.ExpectConsumer, time.Now().Add(time.Hour))
	b.Must(err)
	gate := hold.NewGate(consumer)
	if got := gate.Limit(7); got != 0 {
		t.Fatalf("a held role pulls %d", got)
	}
	b.Must(b.JS.DeleteConsumer(b.Ctx, subject.Orders, subject.ExpectConsumer))
	b.Until("the role to pull", func() bool { return gate.Limit(7) == 7 })
}
