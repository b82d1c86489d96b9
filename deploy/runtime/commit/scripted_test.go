package commit_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

// scripted has no stream: a subscriber answers to each message, or stays silent, as a test
// says. So the answers of replicated streams come in a known order.
func scripted(t *testing.T, change func(*commit.Options), answer func(attempt int, m *nats.Msg)) *bench {
	t.Helper()
	broker := testbench.StartEmpty(t)
	attempts := 0
	if _, err := broker.NC.Subscribe("notifications.>", func(m *nats.Msg) {
		attempts++
		answer(attempts, m)
	}); err != nil {
		t.Fatal(err)
	}
	testbench.Must(t, broker.NC.Flush())
	return startOn(t, broker, change)
}

// ack is the broker's answer to a message that it stored at a sequence.
func ack(t *testing.T, m *nats.Msg, sequence int) {
	testbench.Must(t, m.Respond([]byte(fmt.Sprintf(`{"stream":%q,"seq":%d}`, subject.Notifications, sequence))))
}

// refuse is the broker's answer to a message that it does not store.
func refuse(t *testing.T, m *nats.Msg, code int) {
	testbench.Must(t, m.Respond([]byte(fmt.Sprintf(`{"error":{"code":400,"err_code":%d},"stream":%q,"seq":0}`, code, subject.Notifications))))
}

// On a replicated stream the second attempt of a message is refused while the first one is
// being replicated. Then the ack of the first one comes.
func TestAckCountsAlthoughALaterAttemptWasRefusedForNow(t *testing.T) {
	t.Parallel()
	var first *nats.Msg
	c := scripted(t, func(o *commit.Options) { o.Timeout = 2 * time.Second }, func(attempt int, m *nats.Msg) {
		switch attempt {
		case 1:
			first = m
		case 2:
			refuse(t, m, 10164)
			ack(t, first, 7)
		default:
			refuse(t, m, 10071) // By then the message itself is the last one on the filter.
		}
	})
	got, err := c.Store(t.Context(), guarded(1)[0])
	if err != nil || got.Sequence != 7 {
		t.Errorf("it is stored at 7, the result is %+v, %v", got, err)
	}
}

func TestUnsettledMessageIsSentUntilItIsStored(t *testing.T) {
	t.Parallel()
	c := scripted(t, nil, func(attempt int, m *nats.Msg) {
		switch attempt {
		case 1:
			refuse(t, m, 10158)
		case 2, 3:
			refuse(t, m, 10164)
		default:
			ack(t, m, attempt)
		}
	})
	if got, err := c.Store(t.Context(), message(1)); err != nil || got.Sequence != 4 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A true conflict is no doubt: exactly this message fails, at once.
func TestConflictOfALoneMessageIsFinal(t *testing.T) {
	t.Parallel()
	c := scripted(t, nil, func(attempt int, m *nats.Msg) {
		if attempt == 1 {
			refuse(t, m, 10071)
		}
	})
	if _, err := c.Store(t.Context(), guarded(1)[0]); !errors.Is(err, stream.ErrConflict) {
		t.Errorf("%v", err)
	}
}

// The subject of the last message of a batch has no stream, so the broker answers to the
// batch that it has no responder.
func TestMessageWithoutStreamDoesNotFailItsBatch(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	all := messages(100)
	all[99].Subject = "elsewhere.p"
	release := c.wire.Hold(t)
	waits := make([]func() []error, len(all))
	for i, m := range all { // One behind the other, so that it is the last.
		waits[i] = c.storeAll(t.Context(), m)
		c.awaitPending(i + 1)
	}
	release()
	for i, wait := range waits {
		err := wait()[0]
		if i == 99 != errors.Is(err, commit.ErrMissing) || i != 99 && err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	c.storedOnce(all[:99]...)
	if c.fell.Load() == 0 {
		t.Error("no batch was refused, so this shows nothing")
	}
}
