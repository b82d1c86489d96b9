package lookup_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/lookup"
)

// A paused provider must not keep what is newer than its notifications in the stream.
func TestNotificationsOfAPausedProviderAreParkedWhenTheStreamFills(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusInternalServerError)
	r.worker.Jitter = func() float64 { return 1 }
	const count = 300 // More than a batch.
	var last uint64
	for i := range count {
		last = r.store(record.Notification{ID: fmt.Sprint(i), Payment: fmt.Sprintf("p-%d", i%100)}).Sequence
	}
	r.store(record.Notification{Unknown: "a type of tomorrow", Payment: "unknown"})
	relief := &lookup.Relief{Worker: r.worker, JS: r.JS, Stream: r.Stream(subject.Notifications), Consumer: r.consumer()}
	waiting := func() uint64 {
		info, err := r.consumer().Info(r.Ctx)
		r.Must(err)
		return info.NumPending + uint64(info.NumAckPending) //nolint:gosec // A count.
	}
	round := func(wantWaiting uint64, paused bool) {
		t.Helper()
		r.Must(relief.Round(r.Ctx))
		info, err := r.consumer().Info(r.Ctx)
		r.Must(err)
		if waiting() != wantWaiting || info.Paused != paused {
			t.Fatalf("%d wait, want %d; paused: %v", waiting(), wantWaiting, info.Paused)
		}
	}
	bounded := func(bytes int64) {
		config := r.Stream(subject.Notifications).CachedInfo().Config
		config.MaxBytes = bytes
		_, err := r.JS.UpdateStream(r.Ctx, config)
		r.Must(err)
	}
	stored := int64(r.Stream(subject.Notifications).CachedInfo().State.Bytes) //nolint:gosec // Small.
	bounded(2 * stored)
	round(count+1, false) // The provider is not paused.
	_, err := r.JS.PauseConsumer(r.Ctx, subject.Notifications, subject.LookupConsumer("sandbox"), time.Now().Add(time.Hour))
	r.Must(err)
	bounded(3 * stored)
	round(count+1, true) // There is room.
	bounded(2 * stored)
	round(0, true)
	for i := range 100 {
		p := r.parked(fmt.Sprintf("p-%d", i)).Parked
		if want := last - 99 + uint64(i); p.Covers != want || p.Cause != order.CauseNotification || p.Attempts != 0 { //nolint:gosec // An index.
			t.Errorf("parked for p-%d is %+v, want a look-up that covers %d", i, p, want)
		}
	}
	if letters := r.deadLetters(); len(letters) != 1 || r.lookups("p-0") > 0 {
		t.Errorf("dead letters %+v, %d look-ups", letters, r.lookups("p-0"))
	}
}

// consumer is the provider's consumer of NOTIFICATIONS.
func (r *rig) consumer() jetstream.Consumer {
	r.T.Helper()
	c, err := r.JS.Consumer(r.Ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
	r.Must(err)
	return c
}
