package observations_test

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
)

func TestMain(m *testing.M) { testbench.Main(m) }

var unit = subject.Unit{Provider: "sandbox", Account: "default", Payment: "p"}

// rig is a broker and a store on it.
type rig struct {
	*testbench.Broker
	store *observations.Store
}

func setup(t *testing.T) *rig {
	t.Helper()
	r := &rig{Broker: testbench.Start(t, "sandbox")}
	var err error
	r.store, err = observations.Open(r.Ctx, r.JS)
	r.Must(err)
	return r
}

// notify stores a notification of a payment and returns its sequence.
func (r *rig) notify(payment string) uint64 {
	r.T.Helper()
	u := unit
	u.Payment = payment
	ack, err := r.JS.Publish(r.Ctx, u.Notification(), []byte(`{"id":"n","provider":"`+u.Provider+`","account":"`+u.Account+`","payment":"`+payment+`"}`))
	r.Must(err)
	return ack.Sequence
}

func (r *rig) append(behind observations.Entry, o order.Observation) observations.Entry {
	r.T.Helper()
	sequence, err := r.store.Append(r.Ctx, unit, behind, o, "")
	r.Must(err)
	return observations.Entry{Sequence: sequence, Observation: o}
}

func (r *rig) last() observations.Entry {
	r.T.Helper()
	last, err := r.store.Last(r.Ctx, unit)
	r.Must(err)
	if (last.Sequence > 0) == last.Stored.IsZero() {
		r.T.Errorf("entry %d was stored at %v", last.Sequence, last.Stored)
	}
	last.Stored = time.Time{} // By the broker's clock, which the writer does not know.
	return last
}

func seen(status order.Status, covers uint64) order.Observation {
	at := time.Date(2026, 11, 22, 1, 2, 3, 4000, time.UTC)
	return order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Order: "o",
		Status: status, ProviderStatus: string(status), Amount: &order.Amount{Currency: "BRL", Value: 100},
		Confirmed: true, Cause: order.CauseNotification, AskedAt: at, AnsweredAt: at.Add(time.Second), Covers: covers,
	}
}

func TestAppendExtendsTheObservations(t *testing.T) {
	t.Parallel()
	r := setup(t)
	if last := r.last(); !reflect.DeepEqual(last, observations.Entry{}) || last.Covers() != 0 {
		t.Errorf("without an observation the last one is %+v", last)
	}
	behind := observations.Entry{}
	for i, status := range []order.Status{order.Pending, order.Paid, order.Refunded} {
		behind = r.append(behind, seen(status, uint64(i+1)))
		if last := r.last(); !reflect.DeepEqual(last, behind) || last.Covers() != uint64(i+1) {
			t.Errorf("the last observation is %+v, want %+v", last, behind)
		}
	}
}

func TestAppendBehindStaleEntryIsAConflict(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first := r.append(observations.Entry{}, seen(order.Pending, 1))
	second := r.append(first, seen(order.Paid, 2))
	for name, stale := range map[string]observations.Entry{"none": {}, "earlier": first, "later": {Sequence: second.Sequence + 1}} {
		if _, err := r.store.Append(r.Ctx, unit, stale, seen(order.Refunded, 3), ""); !errors.Is(err, stream.ErrConflict) {
			t.Errorf("behind %s observation: %v", name, err)
		}
	}
	if last := r.last(); !reflect.DeepEqual(last, second) {
		t.Errorf("the last observation is %+v", last)
	}
}

func TestOneOfConcurrentAppendsWins(t *testing.T) {
	t.Parallel()
	r := setup(t)
	behind := r.append(observations.Entry{}, seen(order.Pending, 1))
	var mu sync.Mutex
	var won []uint64
	lost := 0
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			sequence, err := r.store.Append(r.Ctx, unit, behind, seen(order.Paid, uint64(i+2)), "")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won = append(won, sequence)
			case errors.Is(err, stream.ErrConflict):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(won) != 1 || lost != 19 || r.last().Sequence != won[0] {
		t.Errorf("%v won and %d lost; the last sequence is %d", won, lost, r.last().Sequence)
	}
}

func TestAppendIgnoresOtherPayments(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.append(observations.Entry{}, seen(order.Paid, 1))
	other := unit
	other.Account = "acme"
	if _, err := r.store.Append(r.Ctx, other, observations.Entry{}, seen(order.Paid, 1), ""); err != nil {
		t.Errorf("another account's first observation: %v", err)
	}
}

func TestObservationKeepsTheTrace(t *testing.T) {
	t.Parallel()
	r := setup(t)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	sequence, err := r.store.Append(r.Ctx, unit, observations.Entry{}, seen(order.Paid, 1), trace)
	r.Must(err)
	stream, err := r.JS.Stream(r.Ctx, subject.Statuses)
	r.Must(err)
	m, err := stream.GetMsg(r.Ctx, sequence)
	r.Must(err)
	if got := m.Header.Get("traceparent"); got != trace {
		t.Errorf("traceparent is %q", got)
	}
}

func TestLastNotificationIsThePaymentsOwn(t *testing.T) {
	t.Parallel()
	r := setup(t)
	if newest, err := r.store.LastNotification(r.Ctx, unit); newest != (observations.Notification{}) || err != nil {
		t.Errorf("without a notification: %+v, %v", newest, err)
	}
	r.notify("p")
	want := r.notify("p")
	r.notify("other")
	if newest, err := r.store.LastNotification(r.Ctx, unit); newest.Sequence != want || !newest.NeedsLookUp || newest.Stored.IsZero() || err != nil {
		t.Errorf("the last notification is %+v, %v, want %d", newest, err, want)
	}
	for _, body := range []string{`{"unknown_type":"NEW"}`, `[]`} {
		ack, err := r.JS.Publish(r.Ctx, unit.Notification(), []byte(body))
		testbench.Must(t, err)
		if newest, err := r.store.LastNotification(r.Ctx, unit); newest.Sequence != ack.Sequence || newest.NeedsLookUp || err != nil {
			t.Errorf("%s: %+v, %v", body, newest, err)
		}
	}
}

func TestNextNotificationIsInOrder(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var want []uint64
	for _, payment := range []string{"other", "p", "other", "p", "p", "other"} {
		if sequence := r.notify(payment); payment == "p" {
			want = append(want, sequence)
		}
	}
	var got []uint64
	for above := uint64(0); ; {
		s, ok, err := r.store.NextNotification(r.Ctx, unit, above)
		r.Must(err)
		if !ok {
			break
		}
		if s.Notification.Payment != "p" {
			t.Errorf("notification %d is of %q", s.Sequence, s.Notification.Payment)
		}
		got, above = append(got, s.Sequence), s.Sequence
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("walked %v, want %v", got, want)
	}
}

func TestCoversAboveLastSequenceMeansRecreated(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.notify("other")
	last := r.notify("p")
	for covers := range last + 1 {
		if err := r.store.CheckCovers(r.Ctx, covers); err != nil {
			t.Errorf("covers %d of %d: %v", covers, last, err)
		}
	}
	if err := r.store.CheckCovers(r.Ctx, last+1); !errors.Is(err, observations.ErrRecreated) {
		t.Errorf("covers %d of %d: %v", last+1, last, err)
	}
	// A purge keeps the last sequence.
	stream, err := r.JS.Stream(r.Ctx, subject.Notifications)
	r.Must(err)
	r.Must(stream.Purge(r.Ctx))
	if err := r.store.CheckCovers(r.Ctx, last); err != nil {
		t.Errorf("after a purge: %v", err)
	}
	r.Recreate(subject.Notifications)
	if err := r.store.CheckCovers(r.Ctx, last); !errors.Is(err, observations.ErrRecreated) {
		t.Errorf("after the stream was recreated: %v", err)
	}
}

func TestObservationOfAnEarlierStreamCoversNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	o := seen(order.Paid, 7)
	o.NotificationsCreated = r.store.Created()
	r.append(observations.Entry{}, o)
	if got := r.last().Covers(); got != 7 {
		t.Errorf("it covers %d", got)
	}
	r.Recreate(subject.Notifications)
	var err error
	r.store, err = observations.Open(r.Ctx, r.JS)
	r.Must(err)
	if got := r.last(); got.Covers() != 0 || got.Observation.Status != order.Paid {
		t.Errorf("after the stream was recreated it is %+v", got)
	}
	if err := r.store.On(o.NotificationsCreated).CheckCovers(r.Ctx, 0); !errors.Is(err, observations.ErrRecreated) {
		t.Errorf("a store of the earlier stream gave %v", err)
	}
}

func TestUnreadableMessageBlocksNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, s := range []string{unit.Status(), unit.Notification()} {
		_, err := r.JS.Publish(r.Ctx, s, []byte(`{"covers":7,"id":"x","kind":1}`))
		r.Must(err)
	}
	if _, ok, err := r.store.NextNotification(r.Ctx, unit, 0); ok || err != nil {
		t.Errorf("half a notification was read: %v, %v", ok, err)
	}
	whole := r.notify("p")
	if s, ok, err := r.store.NextNotification(r.Ctx, unit, 0); !ok || err != nil || s.Sequence != whole {
		t.Errorf("behind half a notification comes %d (%v, %v), want %d", s.Sequence, ok, err, whole)
	}
	broken := r.last()
	if broken.Sequence == 0 || broken.Covers() != 0 {
		t.Errorf("half an observation is %+v", broken)
	}
	if got := r.append(broken, seen(order.Paid, whole)); r.last().Sequence != got.Sequence {
		t.Errorf("the last is %d, want %d", r.last().Sequence, got.Sequence)
	}
}

func TestMissingBrokerIsNoConflict(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.append(observations.Entry{}, seen(order.Paid, 1))
	r.Stop()
	ctx, cancel := context.WithTimeout(r.Ctx, 2*time.Second)
	defer cancel()
	_, lastErr := r.store.Last(ctx, unit)
	_, notifiedErr := r.store.LastNotification(ctx, unit)
	_, _, nextErr := r.store.NextNotification(ctx, unit, 0)
	_, appendErr := r.store.Append(ctx, unit, observations.Entry{}, seen(order.Paid, 2), "")
	for name, err := range map[string]error{
		"last": lastErr, "notified": notifiedErr, "next": nextErr, "append": appendErr, "check": r.store.CheckCovers(ctx, 9),
	} {
		if err == nil || errors.Is(err, stream.ErrConflict) || errors.Is(err, observations.ErrRecreated) {
			t.Errorf("%s without a broker gave %v", name, err)
		}
	}
}
