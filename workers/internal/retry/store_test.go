package retry_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
)

func (r *rig) holds(payment string, want record.ScheduledLookUp) {
	r.T.Helper()
	if got := r.read(payment).Parked; !reflect.DeepEqual(got, want) {
		r.T.Errorf("parked is\n%+v, want\n%+v", got, want)
	}
	if n := r.stored(); n != 1 {
		r.T.Errorf("%d messages are stored, want one schedule", n)
	}
}

func TestNothingIsScheduledAtFirst(t *testing.T) {
	t.Parallel()
	if entry := setup(t).read("p"); !reflect.DeepEqual(entry, retry.Entry{}) {
		t.Errorf("an empty place is %+v", entry)
	}
}

func TestScheduledLookUpIsReadWhole(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := scheduled("p", 5, 2)
	p.Rechecks = 1
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, p))
	r.holds("p", p)
}

func TestSubjectsNeverShowAnID(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, id := range []string{"plain-id", "ana@example.com", "529.982.247-25", "a.b *>"} {
		r.Must(r.store.Schedule(r.Ctx, retry.Fresh, scheduled(id, 1, 0)))
		m := r.raw(id)
		want := "lookup.parked.sandbox.default." + r.Tokens.Hash(id)
		if m.Subject != want || m.Header.Get("Nats-Schedule-Target") != strings.Replace(want, "parked", "due", 1) {
			t.Errorf("%q is parked on %s for %s", id, m.Subject, m.Header.Get("Nats-Schedule-Target"))
		}
		for name, values := range m.Header {
			if strings.Contains(strings.Join(values, " "), id) {
				t.Errorf("header %s shows the id: %v", name, values)
			}
		}
	}
	if n := r.stored(); n != 4 {
		t.Errorf("%d places for 4 payments", n)
	}
}

func TestAccountsAreSeparate(t *testing.T) {
	t.Parallel()
	r := setup(t)
	one, two := scheduled("p", 1, 0), scheduled("p", 2, 0)
	two.Account = "acme"
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, one))
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, two))
	if got := r.read("p").Parked; !reflect.DeepEqual(got, one) {
		t.Errorf("account default has %+v", got)
	}
}

func TestScheduleExtendsCoverageOfTheScheduledOne(t *testing.T) {
	t.Parallel()
	r := setup(t)
	old := scheduled("p", 5, 3)
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, old))
	fresh := scheduled("p", 7, 0)
	fresh.Reason, fresh.Cause, fresh.DueAt = "transport", order.CauseNotification, far(-100)
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, fresh))
	want := old
	want.Covers, want.Notification, want.NotifiedAt = 7, fresh.Notification, fresh.NotifiedAt
	r.holds("p", want)
	if got := r.raw("p").Header.Get("Nats-Schedule"); got != "@at 2099-01-02T06:04:05.678901234Z" {
		t.Errorf("the schedule became %q", got)
	}
}

func TestScheduleOfAnEarlierNotificationChangesNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, scheduled("p", 5, 3)))
	before := r.read("p")
	for _, stands := range []uint64{0, 4, 5} {
		r.Must(r.store.Schedule(r.Ctx, retry.Fresh, scheduled("p", stands, 0)))
	}
	if after := r.read("p"); !reflect.DeepEqual(after, before) {
		t.Errorf("parked was %+v and is %+v", before, after)
	}
}

// Of two writers the second one decides again, with what the first has stored.
func TestConflictIsDecidedAgain(t *testing.T) {
	t.Parallel()
	fired, held := scheduled("p", 5, 3), open(7, -12)
	for name, c := range map[string]struct {
		before, first record.ScheduledLookUp
		firstAs, as   retry.Request
		p             record.ScheduledLookUp
	}{
		"two failed webhooks":           {a(6, 1), a(8, 1), retry.Fresh, retry.Fresh, a(7, 2)},
		"a retry after a webhook":       {a(6, 1), a(8, 1), retry.Fresh, retry.Retry, a(7, 2)},
		"a recheck after a webhook":     {a(6, 1), a(8, 1), retry.Fresh, retry.Recheck, a(7, 2)},
		"a deferred one after a retry":  {a(4, 1), fired, retry.Retry, retry.Deferred, held},
		"a retry after a deferred one":  {a(4, 1), held, retry.Deferred, retry.Retry, fired},
		"an operator's after a recheck": {a(4, 1), recheck(5, 1, 1), retry.Recheck, retry.Enqueue, operator},
	} {
		for _, given := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", given ", given), func(t *testing.T) {
				t.Parallel()
				r := setup(t)
				r.Must(r.store.Schedule(r.Ctx, retry.Fresh, c.before))
				read := r.read("p")
				store := r.overtaken(func() { r.Must(r.store.Schedule(r.Ctx, c.firstAs, c.first)) })
				put := store.Schedule
				if given {
					put = func(ctx context.Context, as retry.Request, p record.ScheduledLookUp) error {
						_, err := store.ScheduleOver(ctx, read, as, p)
						return err
					}
				}
				r.Must(put(r.Ctx, c.as, c.p))
				first, _ := retry.Merge(c.before, c.first, c.firstAs)
				want, _ := retry.Merge(first, c.p, c.as)
				r.holds("p", want)
			})
		}
	}
}

// A caller that has read what is scheduled costs the broker no second read.
func TestScheduleOverReadsNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	read := r.read("p")
	asked := make(chan *nats.Msg, 10)
	tap, err := r.JS.Conn().ChanSubscribe("$JS.API.STREAM.MSG.GET."+subject.LookupRetries, asked)
	r.Must(err)
	stored, err := r.store.ScheduleOver(r.Ctx, read, retry.Fresh, scheduled("p", 5, 0))
	r.Must(err)
	r.Must(r.JS.Conn().Flush())
	if len(asked) != 0 {
		t.Errorf("%d reads", len(asked))
	}
	r.Must(tap.Unsubscribe())
	r.holds("p", scheduled("p", 5, 0))
	if got := r.read("p"); stored.Sequence != got.Sequence || !reflect.DeepEqual(stored.Parked, got.Parked) {
		t.Errorf("stored is said to be %+v, and is %+v", stored, got)
	}
}

func TestConflictWithADeliverySchedulesAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, scheduled("p", 5, 3)))
	store := r.overtaken(func() { r.Must(r.store.Cancel(r.Ctx, r.read("p"))) }) // As its delivery does.
	fresh := scheduled("p", 7, 0)
	r.Must(store.Schedule(r.Ctx, retry.Fresh, fresh))
	r.holds("p", fresh)
}

func TestEndlessConflictsAreAnError(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var moves []func()
	for i := range 30 {
		moves = append(moves, func() { r.Must(r.store.Schedule(r.Ctx, retry.Fresh, scheduled("p", uint64(i+1), 0))) })
	}
	if err := r.overtaken(moves...).Schedule(r.Ctx, retry.Retry, scheduled("p", 1, 1)); !errors.Is(err, stream.ErrContended) {
		t.Errorf("error is %v", err)
	}
}

func TestConcurrentSchedulesKeepOneForTheHighest(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			if err := r.store.Schedule(r.Ctx, retry.Fresh, scheduled("p", uint64(i+1), 0)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := r.read("p").Parked.Covers; got != 50 {
		t.Errorf("it stands for %d, want 50", got)
	}
	if n := r.stored(); n != 1 {
		t.Errorf("%d messages are stored, want one schedule", n)
	}
}

func TestCancelRemovesOnlyWhatWasRead(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Cancel(r.Ctx, retry.Entry{}))
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, scheduled("p", 5, 0)))
	entry := r.read("p")
	r.Must(r.store.Schedule(r.Ctx, retry.Retry, scheduled("p", 5, 1)))
	r.Must(r.store.Cancel(r.Ctx, entry)) // It was replaced.
	r.holds("p", scheduled("p", 5, 1))
	entry = r.read("p")
	for range 2 { // The second time it no longer exists.
		r.Must(r.store.Cancel(r.Ctx, entry))
		if left := r.read("p"); left.Sequence != 0 {
			t.Errorf("after a cancel %+v is parked", left)
		}
	}
}

func TestCancelWithoutBrokerIsAnError(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, scheduled("p", 5, 0)))
	entry := r.read("p")
	r.Stop()
	ctx, cancel := context.WithTimeout(r.Ctx, time.Second)
	defer cancel()
	if err := r.store.Cancel(ctx, entry); err == nil {
		t.Error("a cancel without a broker is said to have worked")
	}
}
