package webhook_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/gateway/webhook"
)

func TestUnknownOutcomeIsSentAgainAndStoredOnce(t *testing.T) {
	t.Parallel()
	atEach(t, func(t *testing.T, group func(func(*webhook.PublisherOptions)) *committer) {
		c := group(func(o *webhook.PublisherOptions) { o.Timeout = 6 * time.Second })
		all := messages(200)
		release := c.wire.hold(t)
		wait := c.storeAll(t.Context(), all...)
		until(t, func() bool { return c.sum(apart) > 0 }) // Half of the budget is over.
		if got := len(c.stored()); got <= few {
			t.Fatalf("%d are stored, so no batch is", got)
		}
		release()
		allNil(t, wait())
		c.once(all...)
	})
}

// TestBatchThatIsNeverAnsweredIsNotConfirmedAsKnown is about a batch whose sync
// failed: the broker says nothing of it, and knows its messages all the same.
func TestBatchThatIsNeverAnsweredIsNotConfirmedAsKnown(t *testing.T) {
	t.Parallel()
	atEach(t, func(t *testing.T, group func(func(*webhook.PublisherOptions)) *committer) {
		c := group(func(o *webhook.PublisherOptions) { o.Timeout = 2 * time.Second })
		c.wire.lose.Store(1)
		all := messages(200)
		doubted := 0
		for i, err := range c.storeAll(t.Context(), all...)() {
			switch {
			case errors.Is(err, webhook.ErrTimeout):
				doubted++
			case err != nil:
				t.Errorf("message %d: %v", i, err)
			}
		}
		if got := int(c.sum(apart)); got == 0 || doubted != got {
			t.Errorf("%d are unconfirmed, %d were in a batch that was never answered", doubted, got)
		}
		c.once(all...)
		allNil(t, c.storeAll(t.Context(), message(1000))())
	})
}

// Nobody answers for what a broker had before it gave up the lead of the stream.
func TestLoneMessageThatIsNotAnsweredIsSentAgainAndStoredOnce(t *testing.T) {
	t.Parallel()
	c := group(t, func(o *webhook.PublisherOptions) { o.Timeout, o.Group = 2*time.Second, nil })
	c.wire.loseLone.Store(3)
	all := messages(5)
	allNil(t, c.storeAll(t.Context(), all...)())
	if left := c.wire.loseLone.Load(); left > 0 {
		t.Errorf("%d confirmations were not lost, so this shows nothing", left)
	}
	c.once(all...)
}

// A host that is gone without a word makes the client wait for seconds, with its
// lock held, for each connection that it tries.
func TestBrokerThatIsSilentHoldsUpNobody(t *testing.T) {
	t.Parallel()
	var up atomic.Bool // As deploy/runtime/process keeps it.
	up.Store(true)
	c := group(t, func(o *webhook.PublisherOptions) { o.Up = up.Load })
	c.nc.SetDisconnectErrHandler(func(*nats.Conn, error) { up.Store(false) })
	allNil(t, c.storeAll(t.Context(), message(0))())
	heard := c.wire.silence()
	for range 3 {
		<-heard // The client has connected, and waits for a greeting.
		began := time.Now()
		if err := c.Store(t.Context(), message(1)); !errors.Is(err, webhook.ErrDisconnected) {
			t.Errorf("a message is answered with %v", err)
		}
		if took := time.Since(began); took > time.Second { // It waits for two.
			t.Errorf("a message was refused after %v", took)
		}
	}
}

func TestBrokenConnectionIsMendedAndEachStoredOnce(t *testing.T) {
	t.Parallel()
	atEach(t, func(t *testing.T, group func(func(*webhook.PublisherOptions)) *committer) {
		c := group(func(o *webhook.PublisherOptions) { o.ReconnectGrace = 10 * time.Second })
		all := messages(200)
		release := c.wire.hold(t)
		wait := c.storeAll(t.Context(), all...)
		c.held(200)
		until(t, func() bool { return len(c.stored()) > few }) // A batch is stored, and its confirmation is held back.
		c.wire.cut()
		release()
		confirmed, stored, batched := 0, c.stored(), c.batched()
		for i, err := range wait() {
			switch {
			case err == nil:
				confirmed++
			case !errors.Is(err, webhook.ErrDisconnected):
				t.Errorf("message %d: %v", i, err)
			case stored[all[i].ID] > 0 && !batched[all[i].ID]:
				t.Errorf("message %d was stored by itself and refused", i)
			}
		}
		if confirmed == 0 {
			t.Error("no message that was sent alone is confirmed")
		}
		for id, times := range c.stored() {
			if times != 1 {
				t.Errorf("%s is stored %d times", id, times)
			}
		}
	})
}

func TestBrokenConnectionThatStaysBrokenLeavesNobodyWaiting(t *testing.T) {
	t.Parallel()
	atEach(t, func(t *testing.T, group func(func(*webhook.PublisherOptions)) *committer) {
		c := group(nil)
		release := c.wire.hold(t)
		wait := c.storeAll(t.Context(), messages(200)...)
		c.held(200)
		c.wire.sever()
		began := time.Now()
		release()
		for i, err := range wait() {
			if !errors.Is(err, webhook.ErrDisconnected) {
				t.Errorf("message %d: %v", i, err)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the last was refused after %v, its budget is 20 s", took)
		}
		if err := c.Store(t.Context(), message(1)); !errors.Is(err, webhook.ErrDisconnected) {
			t.Errorf("store while disconnected: %v", err)
		}
		c.held(0)
	})
}

func TestClosedConnectionLeavesNobodyWaiting(t *testing.T) {
	t.Parallel()
	c := group(t, nil)
	release := c.wire.hold(t)
	wait := c.storeAll(t.Context(), messages(100)...)
	c.held(100)
	c.nc.Close()
	release()
	for i, err := range wait() {
		if !errors.Is(err, webhook.ErrDisconnected) {
			t.Errorf("message %d: %v", i, err)
		}
	}
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*webhook.PublisherOptions){
		"messages": func(o *webhook.PublisherOptions) { o.Queue = 32 },
		"bytes":    func(o *webhook.PublisherOptions) { o.QueueBytes = 32 * len(message(0).Body) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := group(t, limit)
			release := c.wire.hold(t)
			wait := c.storeAll(t.Context(), messages(32)...)
			c.held(32)
			if err := c.Store(t.Context(), message(99)); !errors.Is(err, webhook.ErrOverloaded) {
				t.Errorf("one too many: %v", err)
			}
			if !c.Overloaded() {
				t.Error("it does not say that it refuses")
			}
			release()
			allNil(t, wait())
			c.once(messages(32)...)
			until(t, func() bool { return !c.Overloaded() })
		})
	}
}

func TestCallersWhoLeaveFreeTheirPlace(t *testing.T) {
	t.Parallel()
	atEach(t, func(t *testing.T, group func(func(*webhook.PublisherOptions)) *committer) {
		c := group(func(o *webhook.PublisherOptions) { o.Queue = 100 })
		ctx, cancel := context.WithCancel(t.Context())
		release := c.wire.hold(t)
		wait := c.storeAll(ctx, messages(100)...)
		c.held(100)
		cancel()
		for i, err := range wait() {
			if !errors.Is(err, webhook.ErrTimeout) {
				t.Errorf("message %d: %v", i, err)
			}
		}
		c.held(0)
		release()
		if err := c.Store(t.Context(), message(200)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestWhateverHappensAConfirmedMessageIsStoredOnce lets callers come and go
// while the wire is cut and the broker restarted.
func TestWhateverHappensAConfirmedMessageIsStoredOnce(t *testing.T) {
	t.Parallel()
	atEach(t, func(t *testing.T, group func(func(*webhook.PublisherOptions)) *committer) {
		c := group(func(o *webhook.PublisherOptions) { o.Timeout = 4 * time.Second })
		trouble, calm := context.WithCancel(t.Context())
		defer calm()
		var mu sync.Mutex
		confirmed := map[string]bool{}
		var callers sync.WaitGroup
		for worker := range 64 {
			dice := rand.New(rand.NewPCG(1, uint64(worker)))
			callers.Go(func() {
				for i := 0; trouble.Err() == nil; i++ {
					m := message(worker*100_000 + i)
					patience := 4 * time.Second
					if dice.IntN(10) == 0 {
						patience = time.Duration(dice.IntN(3000)) * time.Microsecond
					}
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					err := c.Store(ctx, m)
					cancel()
					mu.Lock()
					confirmed[m.ID] = err == nil
					mu.Unlock()
				}
			})
		}
		enough := func(n int) {
			mu.Lock()
			before := len(confirmed)
			mu.Unlock()
			until(t, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(confirmed) > before+n
			})
		}
		for range 5 {
			enough(300)
			c.wire.cut()
		}
		enough(300)
		c.broker.Stop()
		c.broker.Restart()
		enough(300)
		calm()
		callers.Wait()
		c.held(0)
		until(t, c.broker.NC.IsConnected)
		stored, good := c.stored(), 0
		for id, ok := range confirmed {
			if ok {
				good++
			}
			if ok && stored[id] != 1 || stored[id] > 1 {
				t.Errorf("%s is stored %d times, confirmed: %v", id, stored[id], ok)
			}
		}
		if good == 0 || c.sum(batches) == 0 {
			t.Errorf("%d were confirmed, %v batches: this shows nothing", good, c.sum(batches))
		}
	})
}

func TestNobodyWaitsForLongerThanTheBudget(t *testing.T) {
	t.Parallel()
	atEach(t, func(t *testing.T, group func(func(*webhook.PublisherOptions)) *committer) {
		c := group(func(o *webhook.PublisherOptions) { o.Timeout = 200 * time.Millisecond })
		release := c.wire.hold(t)
		began := time.Now()
		for i, err := range c.storeAll(context.Background(), messages(100)...)() {
			if !errors.Is(err, webhook.ErrTimeout) {
				t.Errorf("message %d: %v", i, err)
			}
		}
		if took := time.Since(began); took < 200*time.Millisecond {
			t.Errorf("the last was told after %v", took)
		}
		c.held(0)
		release()
		// The budget is short, so a busy machine may need more than one attempt.
		until(t, func() bool { return c.Store(t.Context(), message(200)) == nil })
	})
}

// TestOneThatIsNeverConfirmedHoldsNobodyUp has the broker store a few and
// nobody hear of it, and others behind them who wait to be a batch.
func TestOneThatIsNeverConfirmedHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	c := group(t, nil)
	release := c.wire.hold(t)
	first := c.storeAll(t.Context(), messages(few-1)...)
	until(t, func() bool { return len(c.stored()) == few-1 })
	second := c.storeAll(t.Context(), message(1000), message(1001))
	until(t, func() bool { return len(c.stored()) == few+1 })
	release()
	allNil(t, first())
	allNil(t, second())
	if got := c.sum(batches); got != 0 {
		t.Errorf("%v batches of the two that waited in vain", got)
	}
}

func TestManyBehindSomeThatAreNeverConfirmedAreABatchAgain(t *testing.T) {
	t.Parallel()
	c := group(t, nil)
	release := c.wire.hold(t)
	first := c.storeAll(t.Context(), messages(few-1)...)
	until(t, func() bool { return len(c.stored()) == few-1 })
	second := c.storeAll(t.Context(), message(1000))
	until(t, func() bool { return len(c.stored()) == few })
	many := make([]webhook.Message, 100)
	for i := range many {
		many[i] = message(2000 + i)
	}
	third := c.storeAll(t.Context(), many...)
	c.held(few + 100)
	until(t, func() bool { return c.sum(batches) > 0 })
	release()
	allNil(t, first())
	allNil(t, second())
	allNil(t, third())
}

func TestThoseBehindCallersWhoLeaveGoOn(t *testing.T) {
	t.Parallel()
	c := group(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	release := c.wire.hold(t)
	first := c.storeAll(ctx, messages(few-1)...)
	until(t, func() bool { return len(c.stored()) == few-1 })
	var behind []webhook.Message
	for i := range 5 { // Too few for a batch, and too many for the few.
		behind = append(behind, message(1000+i))
	}
	second := c.storeAll(t.Context(), behind...)
	c.held(few + 4)
	leave()
	first()
	until(t, func() bool { return len(c.stored()) == few+4 })
	release()
	allNil(t, second())
}

func TestWhoLeavesTheMiddleOfTheQueueIsNotStored(t *testing.T) {
	t.Parallel()
	atEach(t, func(t *testing.T, group func(func(*webhook.PublisherOptions)) *committer) {
		c := group(nil)
		ctx, leave := context.WithCancel(t.Context())
		release := c.wire.hold(t)
		before := c.storeAll(t.Context(), messages(100)...) // A few alone, a batch, and a queue.
		c.held(100)
		gone := c.storeAll(ctx, message(1000))
		c.held(101)
		behind := c.storeAll(t.Context(), message(1001))
		c.held(102)
		leave()
		if err := gone()[0]; !errors.Is(err, webhook.ErrTimeout) {
			t.Errorf("who leaves is told %v", err)
		}
		release()
		allNil(t, before())
		allNil(t, behind())
		c.once(append(messages(100), message(1001))...)
	})
}
