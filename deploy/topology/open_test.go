package topology_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"arauto/deploy/topology"
	"arauto/deploy/topology/jetstreamtest"
	"arauto/schemas/subject"
)

// TestOpeningOutlivesABrokerThatGoesAway stops the broker in the middle of an
// opening and starts it again once the opening has met that.
func TestOpeningOutlivesABrokerThatGoesAway(t *testing.T) {
	t.Parallel()
	broker := jetstreamtest.Start(t)
	nc := broker.Connect()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.WarnLevel)
	met := make(chan struct{})
	var tries atomic.Int32
	opened := make(chan error, 1)
	go func() {
		opened <- topology.Open(jetstreamtest.Context(t), zap.New(core), func(ctx context.Context) error {
			if tries.Add(1) == 1 {
				broker.Stop()
				defer close(met)
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				_, err := js.Stream(ctx, subject.Statuses)
				return err
			}
			_, err := js.Stream(ctx, subject.Orders)
			return err
		})
	}()
	<-met
	broker.Restart()
	if err := <-opened; err != nil {
		t.Errorf("opening ended with: %v", err)
	}
	if tries.Load() < 2 || logs.Len() == 0 {
		t.Errorf("it tried %d times and said %d things", tries.Load(), logs.Len())
	}
}

func TestOpeningEndsWhereWaitingIsOfNoUse(t *testing.T) {
	t.Parallel()
	broker := jetstreamtest.StartEmpty(t)
	err := topology.Open(jetstreamtest.Context(t), zap.NewNop(), func(ctx context.Context) error {
		_, err := broker.JS.Stream(ctx, subject.Orders)
		return err
	})
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a missing stream gives %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = topology.Open(ctx, zap.NewNop(), func(context.Context) error {
		cancel()
		return nats.ErrTimeout
	})
	if err == nil {
		t.Error("it succeeded after it was told to stop")
	}
}

func TestAwayIsWhatMayPass(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		nats.ErrTimeout, nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrNoResponders, context.DeadlineExceeded,
		&jetstream.APIError{Code: 503, ErrorCode: 10008},
	} {
		if !topology.Away(err) {
			t.Errorf("%v does not count as away", err)
		}
	}
	for _, err := range []error{
		nil, jetstream.ErrStreamNotFound, nats.ErrConnectionClosed, context.Canceled, nats.ErrAuthorization,
		&jetstream.APIError{Code: 404, ErrorCode: 10014},
	} {
		if topology.Away(err) {
			t.Errorf("%v counts as away", err)
		}
	}
}
