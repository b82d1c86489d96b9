package lookup_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
	"arauto/workers/lookup"
)

// farRetry schedules a retry of the payment that has spent two attempts and is due in
// about 12 hours. Its policy's next offset is two hours after the first failure.
func (r *rig) farRetry(payment string, stands uint64) record.ScheduledLookUp {
	r.T.Helper()
	first := time.Now().Add(-time.Hour).UTC()
	p := record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Covers: stands,
		Cause: order.CauseNotification, Reason: "unavailable", Attempts: 2, FirstFailure: &first, DueAt: time.Now().Add(12 * time.Hour).UTC(),
	}
	r.Must(r.retries.Schedule(r.Ctx, retry.Retry, p))
	return p
}

func TestNotificationDuringOpenCircuitExpeditesAFarRetry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int // Of the look-up after the circuit has closed.
		done   func(r *rig, retry record.ScheduledLookUp) bool
	}{
		"answered": {http.StatusOK, func(r *rig, _ record.ScheduledLookUp) bool {
			return r.count(subject.Statuses, "statuses.sandbox.default.p") == 1
		}},
		"failed, which spends nothing": {http.StatusInternalServerError, func(r *rig, retry record.ScheduledLookUp) bool {
			p := r.parked("p").Parked
			return p.Reason == "unavailable" && p.Attempts == 2 && !p.Expedited && p.DueAt.Equal(retry.FirstFailure.Add(offsets[2]))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			r.script(func(payment string, _ int) (int, string) {
				return c.status, state(payment, "refunded", 10000, 10000)
			})
			circuits, err := breaker.Open(r.Ctx, r.JS)
			r.Must(err)
			r.Must(circuits.OpenBy(r.Ctx, "sandbox", "default", "a test")) // No probe becomes due by itself.
			w := r.limited(plenty)
			retry := r.farRetry("p", r.told("default", "p").Sequence)
			fresh := r.told("default", "p")
			r.Must(w.HandleNotification(r.Ctx, fresh))
			p := r.parked("p").Parked
			if wait := time.Until(p.DueAt); wait > time.Minute || p.Covers != fresh.Sequence || p.Attempts != 2 || !p.FirstFailure.Equal(*retry.FirstFailure) {
				t.Fatalf("in %v comes due %+v", wait, p)
			}
			if r.lookups("p") != 0 {
				t.Fatal("it was asked for while the circuit was open")
			}
			r.Must(circuits.CloseBy(r.Ctx, "sandbox", "default", "a test"))
			r.run(w)
			r.Until("it is asked for", func() bool { return c.done(r, retry) })
		})
	}
}

// Above the rate limit, the notification is queued, and keeps its time whatever was
// scheduled.
func TestRateLimitedNotificationExpeditesAFarRetry(t *testing.T) {
	t.Parallel()
	r := setup(t)
	w := r.limited(ratelimit.Limit{Rate: 1, Burst: 1, Concurrency: 4})
	r.Must(w.HandleNotification(r.Ctx, r.told("default", "first")))
	r.farRetry("p", r.told("default", "p").Sequence)
	fresh := r.told("default", "p")
	r.Must(w.HandleNotification(r.Ctx, fresh))
	p := r.parked("p").Parked
	if wait := time.Until(p.DueAt); wait > 5*time.Second || p.Reason != "rate_limit" || p.Covers != fresh.Sequence || p.Attempts != 2 || !p.Expedited {
		t.Errorf("in %v comes due %+v", wait, p)
	}
}

// A queued or unknown payment's look-up covers a fresh notification too. It is delivered,
// fails and is scheduled far ahead between the read and the write of that coverage: the
// notification keeps its due time.
func TestCoveredNotificationKeepsItsDueTimeAfterDelivery(t *testing.T) {
	t.Parallel()
	for _, waits := range []string{"rate_limit", "not_found"} {
		t.Run(waits, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			old := r.told("default", "p")
			soon := time.Now().Add(20 * time.Second).UTC()
			r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
				Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: old.Sequence,
				Cause: order.CauseNotification, Reason: waits, Attempts: 1, DueAt: soon,
			}))
			fresh := r.told("default", "p")
			w := r.overtaken(func() { r.farRetry("p", old.Sequence) })
			r.Must(w.HandleNotification(r.Ctx, fresh))
			if p := r.parked("p").Parked; p.DueAt.After(soon) || p.Covers != fresh.Sequence || p.Attempts != 2 || !p.Expedited {
				t.Errorf("parked is %+v", p)
			}
			if got := r.lookups("p"); got != 0 {
				t.Errorf("%d look-ups", got)
			}
		})
	}
}

// An expedited look-up that a limit or a 429 defers, without spending an attempt, is
// still expedited afterwards.
func TestExpeditedLookUpStaysExpeditedAfterFreeWaits(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := r.farRetry("p", r.notify("p").Sequence)
	p.DueAt, p.Expedited = time.Now().UTC(), true
	r.Must(r.retries.Schedule(r.Ctx, retry.Retry, p))
	for _, status := range []int{http.StatusTooManyRequests, http.StatusUnauthorized, http.StatusNotFound} {
		r.fails(status)
		r.fire("p")
		if got := r.parked("p").Parked; !got.Expedited || got.Attempts != 2 {
			t.Fatalf("after a %d parked is %+v", status, got)
		}
	}
	r.fails(http.StatusBadGateway)
	r.fire("p")
	if got := r.parked("p").Parked; got.Expedited || got.Attempts != 2 {
		t.Errorf("after a failure parked is %+v", got)
	}
	r.fire("p")
	if deadLetters := r.deadLetters(); len(deadLetters) != 1 || deadLetters[0].Attempts != 3 {
		t.Errorf("the retry itself left %+v", deadLetters)
	}
}

// The broker purges a schedule that replaced the delivered one. The delivered look-up
// covers the notification of both.
func TestDueLookUpCoversEveryStoredNotification(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		check  func(r *rig, second uint64) bool
	}{
		"parked": {http.StatusBadGateway, func(r *rig, second uint64) bool { return r.parked("p").Parked.Covers == second }},
		"given up": {http.StatusNotFound, func(r *rig, second uint64) bool {
			// Only the first is dead-lettered; the second is scheduled as a new one.
			deadLetters, rest := r.deadLetters(), r.parked("p").Parked
			return len(deadLetters) == 1 && deadLetters[0].Sequence < second && deadLetters[0].Covers == deadLetters[0].Sequence &&
				deadLetters[0].Stream == subject.Notifications && rest.Covers == second && rest.Attempts == 0 && rest.NotFound == 0
		}},
		"answered": {http.StatusOK, func(r *rig, second uint64) bool { return r.last("p").Covers() == second }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			r.fails(http.StatusNotFound)
			r.handle(r.notify("p"))
			entry := r.parked("p")
			entry.Parked.NotFound = len(r.worker.Policy.NotFound) // The next look-up is the last one.
			second := r.notify("p")
			r.handle(second)
			r.Must(r.retries.Cancel(r.Ctx, r.parked("p"))) // As the delivery of the first does.
			r.script(func(payment string, _ int) (int, string) { return c.status, state(payment, "refunded", 10000, 10000) })
			r.due(entry)
			if !c.check(r, second.Sequence) {
				t.Errorf("notification %d: parked is %+v, dead letters are %+v, the last observation is %+v", second.Sequence, r.parked("p").Parked, r.deadLetters(), r.last("p"))
			}
		})
	}
}

// A scheduled look-up's notification is acked and may be purged. An answer of another
// look-up that cancels it covers it.
func TestAnswerCoversTheCancelledLookUpAfterAPurge(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	m := r.notify("p")
	r.handle(m)
	waiting := r.parked("p").Parked
	stream, err := r.JS.Stream(r.Ctx, subject.Notifications)
	r.Must(err)
	r.Must(stream.Purge(r.Ctx))
	r.says("refunded", 10000, 10000)
	asked := waiting
	asked.Covers, asked.Notification, asked.Cause = 0, "", order.CauseSweep
	r.due(retry.Entry{Sequence: 1, Parked: asked})
	if got := r.last("p").Covers(); got != m.Sequence || r.parked("p").Sequence != 0 {
		t.Errorf("the answer covers %d, want %d; parked is %+v", got, m.Sequence, r.parked("p"))
	}
}

// rival is a JetStream on which another writer is first, once.
type rival struct {
	jetstream.JetStream
	move func()
}

func (v *rival) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if move := v.move; move != nil && strings.HasPrefix(m.Subject, "lookup.parked.") {
		v.move = nil
		move()
	}
	return v.JetStream.PublishMsg(ctx, m, opts...)
}

// overtaken is a worker before whose first scheduling the move is made.
func (r *rig) overtaken(move func()) *lookup.Worker {
	r.T.Helper()
	o := r.worker.Options
	var err error
	o.Retries, err = retry.Open(r.Ctx, &rival{JetStream: r.JS, move: move}, r.Tokens)
	r.Must(err)
	return lookup.New(o)
}
