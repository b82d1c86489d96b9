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

// A provider that is down must not keep what is newer than its notifications in the stream.
func TestNotificationsOfAProviderThatIsDownAreParkedWhenTheStreamFills(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusInternalServerError)
	w := r.limited(plenty)
	w.Outage.First, w.Outage.Longest = time.Hour, time.Hour
	w.Jitter = func() float64 { return 1 }
	const count = 300 // More than a batch.
	var last uint64
	for i := range count {
		last = r.store(record.Notification{ID: fmt.Sprint(i), Payment: fmt.Sprintf("p-%d", i%100)}).Sequence
	}
	r.store(record.Notification{Unknown: "a type of tomorrow", Payment: "unknown"})
	relief := &lookup.Relief{Worker: w, Stream: r.Stream(subject.Notifications), Consumer: r.consumer()}
	waiting := func() uint64 {
		info, err := r.consumer().Info(r.Ctx)
		r.Must(err)
		return info.NumPending + uint64(info.NumAckPending) //nolint:gosec // A count.
	}
	round := func(want uint64) {
		t.Helper()
		r.Must(relief.Round(r.Ctx))
		if got := waiting(); got != want {
			t.Fatalf("%d wait, want %d", got, want)
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
	round(count + 1) // The provider is not down.
	for i := range 5 {
		r.Must(w.HandleNotification(r.Ctx, r.told("default", fmt.Sprintf("failed-%d", i))))
	}
	bounded(3 * stored)
	round(count + 6) // There is room.
	bounded(2 * stored)
	round(0)
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
