package lookup_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
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

// unsynced is NOTIFICATIONS of a server that has not synced its last batch: see
// consume.Synced.
type unsynced struct{ jetstream.Stream }

func (unsynced) GetLastMsgForSubject(context.Context, string) (*jetstream.RawStreamMsg, error) {
	return nil, errors.New("timeout")
}

// A power cut may take away a notification of a batch that is not synced. Then a look-up that
// covers its sequence would cover another notification's, and its ack would skip that.
func TestNotificationsOfABatchThatIsNotSyncedAreNotParked(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusInternalServerError)
	w := r.limited(plenty)
	w.Outage.First, w.Outage.Longest = time.Hour, time.Hour
	for i := range 5 {
		r.Must(w.HandleNotification(r.Ctx, r.told("default", fmt.Sprintf("failed-%d", i))))
	}
	r.store(record.Notification{ID: "synced", Payment: "synced"})
	u := r.Unit("lost")
	for i := range 3 {
		m := nats.NewMsg(u.Notification())
		m.Data = []byte(`{"id":"n","provider":"sandbox","account":"default","payment":"lost","order":"lost","kind":"payment"}`)
		m.Header.Set("Nats-Batch-Id", "b")
		m.Header.Set("Nats-Batch-Sequence", fmt.Sprint(i+1))
		if i == 2 {
			m.Header.Set("Nats-Batch-Commit", "1")
		}
		_, err := r.NC.RequestMsgWithContext(r.Ctx, m)
		r.Must(err)
	}
	s := r.Stream(subject.Notifications)
	config := s.CachedInfo().Config
	config.MaxBytes = int64(s.CachedInfo().State.Bytes) * 2 //nolint:gosec // Small.
	_, err := r.JS.UpdateStream(r.Ctx, config)
	r.Must(err)
	relief := &lookup.Relief{Worker: w, Stream: unsynced{s}, Consumer: r.consumer()}
	_ = relief.Round(r.Ctx)
	if p := r.parked("synced").Parked; p.Payment == "" {
		t.Error("what is synced was not parked")
	}
	if p := r.parked("lost").Parked; p.Payment != "" {
		t.Errorf("parked for a notification that may never have been: covers %d", p.Covers)
	}
}
