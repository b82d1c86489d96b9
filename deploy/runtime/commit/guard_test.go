package commit_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

// last returns the sequence of the last message on a subject, 0 for none.
func (c *bench) lastOn(on string) uint64 {
	s, err := c.broker.JS.Stream(c.t.Context(), subject.Notifications)
	if err != nil {
		c.t.Fatal(err)
	}
	raw, err := stream.Last(c.t.Context(), s, on)
	if err != nil {
		c.t.Fatal(err)
	}
	if raw == nil {
		return 0
	}
	return raw.Sequence
}

// guarded returns n messages of payments of their own, each expected to be the first.
func guarded(n int) []commit.Message {
	all := messages(n)
	for i := range all {
		all[i].ID, all[i].Guard = "", &commit.Guard{}
	}
	return all
}

func TestMessageWithoutIDAndGuardIsRefused(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	if _, err := c.Store(t.Context(), commit.Message{Subject: message(1).Subject}); err == nil {
		t.Error("it is stored, and could be stored twice")
	}
}

// A guard is never in a batch: the broker would refuse the whole batch and not say why.
func TestExactlyTheMessageWithAWrongGuardFails(t *testing.T) {
	t.Parallel()
	atEachThreshold(t, func(t *testing.T, start func(func(*commit.Options)) *bench) {
		c := start(nil)
		all := append(guarded(200), messages(400)[200:]...)
		all[150].Guard.Last = 99
		results := c.storeBatched(all...)
		if !errors.Is(results[150], stream.ErrConflict) {
			t.Errorf("the wrong guard: %v", results[150])
		}
		results[150] = nil
		allNil(t, results)
		if c.lastOn(all[150].Subject) != 0 {
			t.Error("the message with the wrong guard is stored")
		}
		if c.batches.Load() == 0 {
			t.Error("there was no batch, so this shows nothing")
		}
	})
}

// Within one batch the broker would accept both: it checks each guard against the state
// before the batch. So guarded messages are sent alone, beside a batch of the others.
func TestOneOfTwoMessagesWithTheSameGuardIsStored(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	var all []commit.Message
	for i := range 100 {
		for half := range 2 {
			m := message(2*i + half)
			m.Subject = fmt.Sprintf("notifications.sandbox.a%d.p%d", half, i)
			m.Guard = &commit.Guard{Filter: fmt.Sprintf("notifications.sandbox.*.p%d", i)}
			all = append(all, m)
		}
	}
	results := c.storeBatched(append(all, messages(400)[200:]...)...)
	allNil(t, results[len(all):])
	for i := 0; i < len(all); i += 2 {
		a, b := results[i], results[i+1]
		if (a == nil) == (b == nil) || !errors.Is(errors.Join(a, b), stream.ErrConflict) {
			t.Errorf("payment %d: %v, %v", i/2, a, b)
		}
	}
	if c.batches.Load() == 0 {
		t.Error("there was no batch, so this shows nothing")
	}
}

func TestReceiptIsWhereTheMessageIs(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	all := append(messages(200), guarded(1)[0])
	all[200].Subject = "notifications.sandbox.default.guarded"
	receipts := make([]commit.Receipt, len(all))
	release := c.wire.Hold(t)
	done := make(chan error, len(all))
	for i, m := range all {
		go func() {
			var err error
			receipts[i], err = c.Store(t.Context(), m)
			done <- err
		}()
	}
	c.awaitPending(len(all))
	release()
	for range all {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for i, m := range all {
		if at := c.lastOn(m.Subject); at != receipts[i].Sequence || receipts[i].Duplicate {
			t.Errorf("message %d is at %d, its receipt says %+v", i, at, receipts[i])
		}
	}
	again, err := c.Store(t.Context(), all[7])
	if err != nil || !again.Duplicate || again.Sequence != receipts[7].Sequence {
		t.Errorf("the same id again: %+v, %v", again, err)
	}
}

// TestResultsAreThoseOfSomeOrder stores random messages concurrently: some share an id, a
// guard or both, some guards are wrong. Whatever shares a batch, the results are those of
// the messages stored one after the other in some order.
func TestResultsAreThoseOfSomeOrder(t *testing.T) {
	t.Parallel()
	broker := testbench.Start(t)
	c := startOn(t, broker, func(o *commit.Options) { o.Threshold = 3 })
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		round++
		n := rapid.IntRange(1, 60).Draw(r, "messages")
		all := make([]commit.Message, n)
		for i := range all {
			payment := rapid.IntRange(0, n/2).Draw(r, "payment")
			all[i] = commit.Message{
				Subject: fmt.Sprintf("notifications.sandbox.default.r%dp%d", round, payment), Body: []byte(fmt.Sprint(i)),
				ID: fmt.Sprintf("r%d-%d", round, rapid.IntRange(0, 3*n).Draw(r, "id")),
			}
			switch rapid.IntRange(0, 3).Draw(r, "guard") {
			case 0: // None.
			case 1, 2:
				all[i].Guard = &commit.Guard{}
			case 3:
				all[i].Guard = &commit.Guard{Last: 1 << 40}
			}
		}
		results := c.storeBatched(all...)
		s, err := broker.JS.Stream(t.Context(), subject.Notifications)
		if err != nil {
			r.Fatal(err)
		}
		stored, ids := map[string]int{}, map[string]bool{} // By body, in all.
		for seq := s.CachedInfo().State.LastSeq; seq > 0; seq-- {
			raw, err := s.GetMsg(t.Context(), seq)
			if err != nil {
				r.Fatal(err)
			}
			var which, payment int
			if _, err := fmt.Sscanf(raw.Subject, fmt.Sprintf("notifications.sandbox.default.r%dp%%d", round), &payment); err != nil {
				break // Of an earlier round.
			}
			if _, err := fmt.Sscan(string(raw.Data), &which); err != nil {
				r.Fatal(err)
			}
			id := raw.Header.Get(jetstream.MsgIDHeader)
			if stored[string(raw.Data)]++; stored[string(raw.Data)] > 1 || ids[id] {
				r.Fatalf("message %d or its id is stored twice (batch %q)", which, raw.Header.Get(server.JSBatchId))
			}
			ids[id] = true
			if g := all[which].Guard; g != nil && (g.Last != 0 || firstOn(t, s, raw.Subject) != seq) {
				r.Fatalf("message %d is stored against its guard", which)
			}
		}
		for i, err := range results {
			m := all[i]
			switch {
			case err == nil && !ids[m.ID]:
				r.Fatalf("message %d is confirmed and not stored", i)
			case err != nil && m.Guard == nil:
				r.Fatalf("message %d without a guard: %v", i, err)
			case err != nil && !errors.Is(err, stream.ErrConflict):
				r.Fatalf("message %d: %v", i, err)
			case err != nil && stored[fmt.Sprint(i)] > 0:
				r.Fatalf("message %d is stored and failed", i)
			case err != nil && m.Guard.Last == 0 && firstOn(t, s, m.Subject) == 0:
				r.Fatalf("message %d is refused although its guard is right", i)
			}
		}
	})
	if c.batches.Load() == 0 || c.fell.Load() == 0 {
		t.Errorf("%d batches, %d messages fell out of one: this shows nothing", c.batches.Load(), c.fell.Load())
	}
}

// firstOn is the sequence of the first message on a subject, 0 for none.
func firstOn(t *testing.T, s jetstream.Stream, on string) uint64 {
	t.Helper()
	raw, err := stream.Next(t.Context(), s, on, 0)
	if err != nil {
		t.Fatal(err)
	}
	if raw == nil {
		return 0
	}
	return raw.Sequence
}
