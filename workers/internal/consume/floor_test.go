package consume_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/workers/internal/consume"
)

func TestAckFloorIsBelowTheFirstUnackedMessage(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish(many(3, "a")...)
	batch, err := r.consumer.Fetch(3, jetstream.FetchMaxWait(10*time.Second))
	r.Must(err)
	var all []jetstream.Msg
	for m := range batch.Messages() {
		all = append(all, m)
	}
	floor := func(want uint64) {
		t.Helper()
		got, err := consume.AckFloor(r.Ctx, r.JS, "WORK", "worker")
		r.Must(err)
		if got != want {
			t.Errorf("the floor is %d, want %d", got, want)
		}
	}
	floor(0)
	r.Must(all[1].DoubleAck(r.Ctx))
	floor(0)
	r.Must(all[0].DoubleAck(r.Ctx))
	floor(2)
}

func TestAckFloorOfAMissingConsumerIsZero(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish(many(1, "a")...)
	if floor, err := consume.AckFloor(r.Ctx, r.JS, "WORK", "missing"); err != nil || floor != 0 {
		t.Errorf("got %d, %v", floor, err)
	}
	if _, err := consume.AckFloor(r.Ctx, r.JS, "MISSING", "missing"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without the stream: %v", err)
	}
}
