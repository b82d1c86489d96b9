package stale_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// counting is a JetStream that counts the messages that are asked for.
type counting struct {
	jetstream.JetStream
	reads *atomic.Int64
}

func (c counting) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := c.JetStream.Stream(ctx, name)
	return counted{stream, c.reads}, err
}

type counted struct {
	jetstream.Stream
	reads *atomic.Int64
}

func (c counted) GetMsg(ctx context.Context, sequence uint64, o ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	c.reads.Add(1)
	return c.Stream.GetMsg(ctx, sequence, o...)
}

func (c counted) GetLastMsgForSubject(ctx context.Context, on string) (*jetstream.RawStreamMsg, error) {
	c.reads.Add(1)
	return c.Stream.GetLastMsgForSubject(ctx, on)
}

// idle is how many messages a round reads in which nothing is due and nothing new.
const idle = 1

func TestOnlyWhatMayBeDueAndWhatIsNewIsRead(t *testing.T) {
	t.Parallel()
	r := setup(t)
	const moved, waiting = 40, 30
	for i := range moved {
		r.events(fmt.Sprintf("moved-%d", i), true, order.Pending, order.Paid)
	}
	for i := range waiting {
		r.events(fmt.Sprintf("waiting-%d", i), true, order.Pending)
	}
	var reads atomic.Int64
	s := r.sweeper(counting{r.JS, &reads})
	round := func(at time.Duration, most int64) {
		t.Helper()
		r.clock.Turn(at)
		reads.Store(0)
		r.Must(s.Round(r.Ctx))
		if n := reads.Load(); n > most {
			t.Errorf("the round at %v read %d messages, want at most %d", at, n, most)
		}
	}
	round(0, idle+2*moved+waiting+31) // Everything is new, and up to 32 are read at once.
	round(2*time.Minute, idle)        // None has been silent for long enough.
	for i := range waiting {
		r.observe(fmt.Sprintf("waiting-%d", i), order.Pending, 0)
	}
	round(6*time.Minute, idle+2*waiting) // No read for an event that another one has followed.
	round(6*time.Minute+30*time.Second, idle)
	round(7*time.Minute+30*time.Second, idle+8*waiting) // Two minutes and the pause are over.
	for i := range waiting {
		if r.parked(fmt.Sprintf("waiting-%d", i)) == nil {
			t.Fatalf("waiting-%d was not made due", i)
		}
	}
	for i := range waiting {
		r.observe(fmt.Sprintf("waiting-%d", i), order.Pending, 0)
	}
	r.clock.Turn(9 * time.Minute)
	r.Must(s.Round(r.Ctx)) // They have been heard of.
	round(11*time.Minute, idle)
}

func TestAPaymentThatMovesOnIsForgottenAndANewOneIsFound(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.events("first", true, order.Pending)
	r.events("moves", true, order.Pending)
	s := r.sweeper(r.JS)
	r.Must(s.Round(r.Ctx))
	r.append("moves", order.Pending, order.Paid)
	r.events("new", true, order.Pending)
	r.clock.Turn(6 * time.Minute)
	r.Must(s.Round(r.Ctx))
	if r.parked("first") == nil || r.parked("new") == nil {
		t.Error("one that is silent was not found")
	}
	r.clock.Turn(day - time.Minute)
	r.Must(s.Round(r.Ctx))
	if p := r.parked("moves"); p != nil {
		t.Errorf("one that has moved on was swept as pending: %+v", p)
	}
	r.clock.Turn(2 * day)
	r.Must(s.Round(r.Ctx))
	if r.parked("moves") == nil {
		t.Error("one that has moved on was not swept in its new state")
	}
}

func TestAnEventThatIsRemovedMeanwhileIsForgotten(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.events("p", true, order.Pending)
	var reads atomic.Int64
	s := r.sweeper(counting{r.JS, &reads})
	r.Must(s.Round(r.Ctx))
	stream, err := r.JS.Stream(r.Ctx, subject.Orders)
	r.Must(err)
	r.Must(stream.Purge(r.Ctx))
	for _, after := range []time.Duration{6 * time.Minute, 8 * time.Minute} {
		r.clock.Turn(after)
		reads.Store(0)
		r.Must(s.Round(r.Ctx))
	}
	if n := reads.Load(); n > idle {
		t.Errorf("%d reads for an event that is gone, want at most %d", n, idle)
	}
}

// ageless is a JetStream whose streams never seem to have been made anew, as one
// that was brought back from a copy does not.
type ageless struct{ jetstream.JetStream }

func (a ageless) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := a.JetStream.Stream(ctx, name)
	return dated{stream}, err
}

type dated struct{ jetstream.Stream }

func (d dated) Info(ctx context.Context, o ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	info, err := d.Stream.Info(ctx, o...)
	if err == nil {
		info.Created = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	}
	return info, err
}

func TestEverythingIsReadAgainWhenNumbersBeginAnew(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		js   func(jetstream.JetStream) jetstream.JetStream
		gone int // Payments in the stream that goes, of two events each.
	}{
		{name: "with as many events", gone: 1, js: func(js jetstream.JetStream) jetstream.JetStream { return js }},
		{name: "with fewer, from a copy", gone: 4, js: func(js jetstream.JetStream) jetstream.JetStream { return ageless{js} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			for i := range tc.gone {
				r.events(fmt.Sprintf("gone-%d", i), true, order.Pending, order.Refunded)
			}
			s := r.sweeper(tc.js(r.JS))
			r.clock.Turn(6 * time.Minute)
			r.Must(s.Round(r.Ctx)) // It knows them all, and that none of them can be due.
			r.Recreate(subject.Orders)
			r.events("first", true, order.Pending)
			r.events("second", true, order.Pending)
			r.clock.Turn(8 * time.Minute)
			r.Must(s.Round(r.Ctx))
			if r.parked("first") == nil || r.parked("second") == nil {
				t.Error("silent payments of the new stream were not found")
			}
		})
	}
}

func TestWhatWasBelievedIsAskedForAPauseAfterSomebodyWasAsked(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.events("p", false, order.Pending)
	s := r.sweeper(r.JS)
	round := func(at time.Duration, want bool) {
		t.Helper()
		r.clock.Turn(at)
		r.Must(s.Round(r.Ctx))
		if p := r.parked("p"); (p != nil) != want {
			t.Errorf("after %v parked %+v, want one: %v", at, p, want)
		}
	}
	round(6*time.Minute, false)
	r.clock.Turn(7 * time.Minute)
	r.observe("p", order.Pending, 0)
	round(11*time.Minute+30*time.Second, false)
	round(13*time.Minute, true)
}

// TestLettersOfAUnitAreReadOnce is about webhooks of unknown types, which all
// share a unit, and of which each has a letter.
func TestLettersOfAUnitAreReadOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	const many = 40
	var last uint64
	for range many {
		last = r.notify("unknown")
		r.put("unknown", record.DeadLetter{ID: deadletter.ID(subject.Notifications, last), Stage: record.StageLookup, Stream: subject.Notifications, Sequence: last})
	}
	orphan := r.notify("unknown")
	var reads atomic.Int64
	s := r.sweeper(counting{r.JS, &reads})
	reads.Store(0)
	judged, err := s.Unprocessed(r.Ctx, "sandbox", orphan, time.Now().Add(time.Minute))
	r.Must(err)
	if p := r.parked("unknown"); judged != orphan || p == nil || p.Covers != orphan {
		t.Errorf("judged up to %d of %d, parked %+v", judged, orphan, p)
	}
	const each, once = 6, 40 // Reads of a notification and of what stands for it; and to find the first letter.
	if n := reads.Load(); n > each*many+many+once {
		t.Errorf("%d reads for %d notifications and as many letters", n, many)
	}
}

func TestRedrivenDeadLetterCoversNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first, second, third := r.notify("p"), r.notify("p"), r.notify("p")
	r.put("p", record.DeadLetter{ID: "LOOKUP_RETRIES-7", Stage: record.StageLookup, Stream: subject.LookupRetries, Sequence: 7, Covers: third})
	r.put("p", record.DeadLetter{ID: deadletter.ID(subject.Notifications, first), Stage: record.StageLookup, Stream: subject.Notifications, Sequence: first, Covers: first})
	s := r.sweeper(marking{r.JS, func(sequence uint64) {
		if sequence == second { // While the first is being judged.
			r.put("p", record.DeadLetter{ID: "LOOKUP_RETRIES-7", Stage: record.StageLookup, Stream: subject.LookupRetries, Sequence: 7, Covers: third, State: record.Redriven})
		}
	}})
	_, err := s.Unprocessed(r.Ctx, "sandbox", third, time.Now().Add(time.Minute))
	r.Must(err)
	if p := r.parked("p"); p == nil || p.Covers != second {
		t.Errorf("parked %+v, want one for %d", p, second)
	}
}

// marking is a JetStream that says which message is asked for next.
type marking struct {
	jetstream.JetStream
	before func(sequence uint64)
}

func (m marking) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := m.JetStream.Stream(ctx, name)
	if name != subject.Notifications {
		return stream, err
	}
	return marked{stream, m.before}, err
}

type marked struct {
	jetstream.Stream
	before func(sequence uint64)
}

func (m marked) GetMsg(ctx context.Context, sequence uint64, o ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	m.before(sequence)
	return m.Stream.GetMsg(ctx, sequence, o...)
}
