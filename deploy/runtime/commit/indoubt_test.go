package commit_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"arauto/deploy/runtime/commit"
)

func TestBatchWithoutAckIsRetriedAndStoredOnce(t *testing.T) {
	t.Parallel()
	atEachThreshold(t, func(t *testing.T, start func(func(*commit.Options)) *bench) {
		c := start(func(o *commit.Options) { o.Timeout = 6 * time.Second })
		all := messages(200)
		release := c.wire.Hold(t)
		wait := c.storeAll(t.Context(), all...)
		until(t, func() bool { return c.fell.Load() > 0 }) // Half of the publish timeout has passed.
		if got := len(c.batched()); got == 0 {
			t.Fatal("no message is stored in a batch")
		}
		release()
		allNil(t, wait())
		c.storedOnce(all...)
	})
}

// TestDuplicateAckIsNoProofOfABatchThatTimedOut is about a batch whose sync failed: the
// broker sends no ack for it and acks its messages as duplicates. See expireBatch.
func TestDuplicateAckIsNoProofOfABatchThatTimedOut(t *testing.T) {
	t.Parallel()
	atEachThreshold(t, func(t *testing.T, start func(func(*commit.Options)) *bench) {
		c := start(func(o *commit.Options) { o.Timeout = 2 * time.Second })
		c.wire.LoseBatchAcks.Store(1)
		all := messages(200)
		timedOut := 0
		for i, err := range c.storeAll(t.Context(), all...)() {
			switch {
			case errors.Is(err, commit.ErrTimeout):
				timedOut++
			case err != nil:
				t.Errorf("message %d: %v", i, err)
			}
		}
		if got := int(c.fell.Load()); got == 0 || timedOut != got {
			t.Errorf("%d timed out, %d were in the batch without an ack", timedOut, got)
		}
		c.storedOnce(all...)
		allNil(t, c.storeAll(t.Context(), message(1000))())
	})
}

// A broker sends no ack for a message that it received before it lost the leadership of
// the stream. See startSingle.
func TestSingleWithoutAckIsRetransmittedAndStoredOnce(t *testing.T) {
	t.Parallel()
	c := start(t, func(o *commit.Options) { o.Timeout, o.GroupCommit = 2*time.Second, nil })
	c.wire.LoseSingleAcks.Store(3)
	all := messages(5)
	allNil(t, c.storeAll(t.Context(), all...)())
	if left := c.wire.LoseSingleAcks.Load(); left > 0 {
		t.Errorf("%d acks were not lost, so this shows nothing", left)
	}
	c.storedOnce(all...)
}

// The client holds its lock for seconds while it connects to a host that does not
// answer (nats.go 1.55.0, nats.go, processConnectInit).
func TestSilentBrokerDelaysNoStore(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	allNil(t, c.storeAll(t.Context(), message(0))())
	connected := c.wire.Blackhole()
	for range 3 {
		<-connected // The client waits for INFO.
		began := time.Now()
		if err := c.store(t.Context(), message(1)); !errors.Is(err, commit.ErrDisconnected) {
			t.Errorf("store: %v", err)
		}
		if took := time.Since(began); took > time.Second { // The client waits for two.
			t.Errorf("a message was refused after %v", took)
		}
	}
}

func TestReconnectStoresEachMessageOnce(t *testing.T) {
	t.Parallel()
	atEachThreshold(t, func(t *testing.T, start func(func(*commit.Options)) *bench) {
		c := start(func(o *commit.Options) { o.ReconnectGrace = 10 * time.Second })
		all := messages(200)
		release := c.wire.Hold(t)
		wait := c.storeAll(t.Context(), all...)
		c.awaitPending(200)
		until(t, func() bool { return len(c.stored()) > threshold }) // A batch is stored, and its ack is held back.
		c.wire.Cut()
		release()
		confirmed, stored, batched := 0, c.stored(), c.batched()
		for i, err := range wait() {
			switch {
			case err == nil:
				confirmed++
			case !errors.Is(err, commit.ErrDisconnected) && !(batched[all[i].ID] && errors.Is(err, commit.ErrTimeout)): // Not proven durable.
				t.Errorf("message %d: %v", i, err)
			case stored[all[i].ID] > 0 && !batched[all[i].ID]:
				t.Errorf("message %d was stored as a single and failed", i)
			}
		}
		if confirmed == 0 {
			t.Error("no single is confirmed")
		}
		for id, times := range c.stored() {
			if times != 1 {
				t.Errorf("%s is stored %d times", id, times)
			}
		}
	})
}

func TestLostConnectionFailsEveryMessage(t *testing.T) {
	t.Parallel()
	atEachThreshold(t, func(t *testing.T, start func(func(*commit.Options)) *bench) {
		c := start(nil)
		release := c.wire.Hold(t)
		wait := c.storeAll(t.Context(), messages(200)...)
		c.awaitPending(200)
		c.wire.Sever()
		began := time.Now()
		release()
		for i, err := range wait() {
			if !errors.Is(err, commit.ErrDisconnected) {
				t.Errorf("message %d: %v", i, err)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the last failed after %v, the publish timeout is 20 s", took)
		}
		if err := c.store(t.Context(), message(1)); !errors.Is(err, commit.ErrDisconnected) {
			t.Errorf("store while disconnected: %v", err)
		}
		c.awaitPending(0)
	})
}

func TestClosedConnectionFailsEveryMessage(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	release := c.wire.Hold(t)
	wait := c.storeAll(t.Context(), messages(100)...)
	c.awaitPending(100)
	c.nc.Close()
	release()
	for i, err := range wait() {
		if !errors.Is(err, commit.ErrDisconnected) {
			t.Errorf("message %d: %v", i, err)
		}
	}
}

func TestFullQueueSheds(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*commit.Options){
		"messages": func(o *commit.Options) { o.QueueLimit = 32 },
		"bytes":    func(o *commit.Options) { o.QueueBytes = 32 * len(message(0).Body) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, limit)
			release := c.wire.Hold(t)
			wait := c.storeAll(t.Context(), messages(32)...)
			c.awaitPending(32)
			if err := c.store(t.Context(), message(99)); !errors.Is(err, commit.ErrOverloaded) {
				t.Errorf("one too many: %v", err)
			}
			if !c.Overloaded() {
				t.Error("it does not report overload")
			}
			release()
			allNil(t, wait())
			c.storedOnce(messages(32)...)
			until(t, func() bool { return !c.Overloaded() })
		})
	}
}

func TestCanceledMessagesFreeTheQueue(t *testing.T) {
	t.Parallel()
	atEachThreshold(t, func(t *testing.T, start func(func(*commit.Options)) *bench) {
		c := start(func(o *commit.Options) { o.QueueLimit = 100 })
		ctx, cancel := context.WithCancel(t.Context())
		release := c.wire.Hold(t)
		wait := c.storeAll(ctx, messages(100)...)
		c.awaitPending(100)
		cancel()
		for i, err := range wait() {
			if !errors.Is(err, commit.ErrTimeout) {
				t.Errorf("message %d: %v", i, err)
			}
		}
		c.awaitPending(0)
		release()
		if err := c.store(t.Context(), message(200)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestStoredOnceUnderDisconnectsAndRestarts stores with short and long timeouts while the
// wire is cut and the broker is restarted.
func TestStoredOnceUnderDisconnectsAndRestarts(t *testing.T) {
	t.Parallel()
	atEachThreshold(t, func(t *testing.T, start func(func(*commit.Options)) *bench) {
		c := start(func(o *commit.Options) { o.Timeout = 4 * time.Second })
		faults, end := context.WithCancel(t.Context())
		defer end()
		var mu sync.Mutex
		confirmed := map[string]bool{}
		var callers sync.WaitGroup
		for worker := range 64 {
			dice := rand.New(rand.NewPCG(1, uint64(worker)))
			callers.Go(func() {
				for i := 0; faults.Err() == nil; i++ {
					m := message(worker*100_000 + i)
					timeout := 4 * time.Second
					if dice.IntN(10) == 0 {
						timeout = time.Duration(dice.IntN(3000)) * time.Microsecond
					}
					ctx, cancel := context.WithTimeout(context.Background(), timeout)
					err := c.store(ctx, m)
					cancel()
					mu.Lock()
					confirmed[m.ID] = err == nil
					mu.Unlock()
				}
			})
		}
		awaitResults := func(n int) {
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
			awaitResults(300)
			c.wire.Cut()
		}
		awaitResults(300)
		c.broker.Stop()
		c.broker.Restart()
		awaitResults(300)
		end()
		callers.Wait()
		c.awaitPending(0)
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
		if good == 0 || c.batches.Load() == 0 {
			t.Errorf("%d were confirmed, %v batches: this shows nothing", good, c.batches.Load())
		}
	})
}

func TestStoreEndsAtThePublishTimeout(t *testing.T) {
	t.Parallel()
	atEachThreshold(t, func(t *testing.T, start func(func(*commit.Options)) *bench) {
		c := start(func(o *commit.Options) { o.Timeout = 200 * time.Millisecond })
		release := c.wire.Hold(t)
		began := time.Now()
		timedOut := 0
		for i, err := range c.storeAll(context.Background(), messages(100)...)() {
			switch {
			case errors.Is(err, commit.ErrTimeout):
				timedOut++
			case !errors.Is(err, commit.ErrOverloaded): // On a busy machine the last are shed, because the first are old by then.
				t.Errorf("message %d: %v", i, err)
			}
		}
		if timedOut == 0 {
			t.Error("no message timed out")
		}
		if took := time.Since(began); took < 200*time.Millisecond {
			t.Errorf("the last ended after %v", took)
		}
		c.awaitPending(0)
		release()
		// The timeout is short, so a busy machine may need more than one attempt.
		until(t, func() bool { return c.store(t.Context(), message(200)) == nil })
	})
}

// TestSinglesWithoutAckDoNotBlockTheQueue holds back the acks of singles, with two more
// messages queued behind them for a batch.
func TestSinglesWithoutAckDoNotBlockTheQueue(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	release := c.wire.Hold(t)
	first := c.storeAll(t.Context(), messages(threshold-1)...)
	until(t, func() bool { return len(c.stored()) == threshold-1 })
	second := c.storeAll(t.Context(), message(1000), message(1001))
	until(t, func() bool { return len(c.stored()) == threshold+1 })
	release()
	allNil(t, first())
	allNil(t, second())
	if got := c.batches.Load(); got != 0 {
		t.Errorf("%v batches of two messages", got)
	}
}

func TestManyBehindSinglesWithoutAckAreABatch(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	release := c.wire.Hold(t)
	first := c.storeAll(t.Context(), messages(threshold-1)...)
	until(t, func() bool { return len(c.stored()) == threshold-1 })
	second := c.storeAll(t.Context(), message(1000))
	until(t, func() bool { return len(c.stored()) == threshold })
	many := make([]commit.Message, 100)
	for i := range many {
		many[i] = message(2000 + i)
	}
	third := c.storeAll(t.Context(), many...)
	c.awaitPending(threshold + 100)
	until(t, func() bool { return c.batches.Load() > 0 })
	release()
	allNil(t, first())
	allNil(t, second())
	allNil(t, third())
}

func TestQueueBehindCanceledSinglesIsSent(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	release := c.wire.Hold(t)
	first := c.storeAll(ctx, messages(threshold-1)...)
	until(t, func() bool { return len(c.stored()) == threshold-1 })
	var behind []commit.Message
	for i := range 5 { // Too threshold for a batch, and too many for the few.
		behind = append(behind, message(1000+i))
	}
	second := c.storeAll(t.Context(), behind...)
	c.awaitPending(threshold + 4)
	cancel()
	first()
	until(t, func() bool { return len(c.stored()) == threshold+4 })
	release()
	allNil(t, second())
}

func TestMessageCanceledInTheQueueIsNotStored(t *testing.T) {
	t.Parallel()
	atEachThreshold(t, func(t *testing.T, start func(func(*commit.Options)) *bench) {
		c := start(nil)
		ctx, cancel := context.WithCancel(t.Context())
		release := c.wire.Hold(t)
		before := c.storeAll(t.Context(), messages(100)...) // Some are singles, a batch is sent, the rest is queued.
		c.awaitPending(100)
		canceled := c.storeAll(ctx, message(1000))
		c.awaitPending(101)
		behind := c.storeAll(t.Context(), message(1001))
		c.awaitPending(102)
		cancel()
		if err := canceled()[0]; !errors.Is(err, commit.ErrTimeout) {
			t.Errorf("a canceled message ends with %v", err)
		}
		release()
		allNil(t, before())
		allNil(t, behind())
		c.storedOnce(append(messages(100), message(1001))...)
	})
}
