package topology_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

// await waits for one stream and one consumer and returns what was said.
func await(ctx context.Context, js jetstream.JetStream, bind func(context.Context) error) (*observer.ObservedLogs, error) {
	log, said := testbench.Logs(zap.InfoLevel)
	return said, topology.Await(ctx, js, settings, log,
		[]string{subject.Statuses}, []string{subject.NormalizeConsumer}, bind)
}

func TestAwaitBindsAnewUntilNothingFails(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, settings.Providers...)
	js, err := jetstream.New(b.NC, jetstream.WithDefaultTimeout(time.Second))
	testbench.Must(t, err)
	var bound jetstream.Stream
	rounds := 0
	// As in production there is no deadline, so each question has the client's.
	said, err := await(t.Context(), js, func(ctx context.Context) (err error) {
		if rounds++; rounds == 1 { // It goes after it was seen to be there.
			b.Stop()
			defer b.Restart()
		}
		bound, err = js.Stream(ctx, subject.Statuses)
		return err
	})
	if err != nil || bound == nil || rounds != 2 {
		t.Errorf("bound %v in %d rounds: %v", bound, rounds, err)
	}
	reasons := map[string]bool{}
	for _, line := range said.All() {
		reasons[line.ContextMap()["error"].(string)] = true
	}
	if len(reasons) == 0 || len(reasons) != said.FilterMessage("broker.awaited").Len() {
		t.Errorf("said %v", said.All())
	}
}

func TestAwaitSaysOnceWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, settings.Providers...)
	failures := 0
	said, err := await(testbench.Context(t), b.JS, func(context.Context) error {
		if failures++; failures <= 3 {
			return errors.New("no leader")
		}
		return nil
	})
	if err != nil || failures != 4 || said.Len() != 1 {
		t.Errorf("after %d failures: %v, said %v", failures, err, said.All())
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, settings.Providers...)
	ctx, cancel := context.WithCancel(testbench.Context(t))
	_, err := await(ctx, b.JS, func(context.Context) error {
		cancel()
		return errors.New("no leader")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestAwaitEndsWithAClosedConnection(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, settings.Providers...)
	b.NC.Close()
	if _, err := await(testbench.Context(t), b.JS, func(context.Context) error { return nil }); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("ended with %v", err)
	}
}
