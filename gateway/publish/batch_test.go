package publish

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/testbench"
)

func TestLateAckOfABatchCompletesItsMessages(t *testing.T) {
	t.Parallel()
	e := &entry{result: make(chan error, 1), token: 7, inDoubt: true}
	c := &Committer{singles: map[uint64]*entry{7: e}, pending: 1}
	late := &batch{entries: []*entry{e}}
	c.resolve(late, errAny)
	if e.inDoubt || e.completed || len(c.singles) != 1 {
		t.Errorf("a late refusal leaves %+v, %d singles", e, len(c.singles))
	}
	c.resolve(late, nil)
	if err := <-e.result; err != nil || len(c.singles) != 0 || c.pending != 0 {
		t.Errorf("a late ack gives %v, %d singles, %d pending", err, len(c.singles), c.pending)
	}
}

// A replicated stream refuses a message while it replicates an earlier attempt. The
// broker of this test has no earlier attempt, so it stores the next one.
func TestMessageInProcessIsRetransmitted(t *testing.T) {
	t.Parallel()
	broker := testbench.Start(t)
	c, err := New(broker.Connect(), Options{Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	e := &entry{result: make(chan error, 1), message: message0}
	e.deadline = time.Now().Add(c.options.Timeout)
	c.mu.Lock()
	c.pending = 1
	first := c.startSingle(e, time.Now()).token
	c.mu.Unlock()
	answer := []byte(`{"error":{"code":409,"err_code":10158,"description":"duplicate message id is in process"}}`)
	c.acked(&nats.Msg{Subject: c.ackSubject(first), Data: answer})
	if err := <-e.result; err != nil || e.token != first {
		t.Errorf("it ends with %v under token %d, not %d", err, e.token, first)
	}
}

func TestFailedAttemptDoesNotFailALaterOne(t *testing.T) {
	t.Parallel()
	nc := testbench.Start(t).Connect()
	c, err := New(nc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	e := &entry{result: make(chan error, 1), message: message0, token: 7, attempts: 2}
	c.mu.Lock()
	c.singles[7], c.pending = e, 1
	c.mu.Unlock()
	c.sendSingle(single{e, 1})
	if len(e.result) != 0 {
		t.Fatalf("the first attempt ends it with %v", <-e.result)
	}
	c.sendSingle(single{e, 2})
	if err := <-e.result; !errors.Is(err, ErrDisconnected) {
		t.Errorf("the second attempt ends it with %v", err)
	}
}

var message0 = Message{ID: "id", Subject: "notifications.sandbox.default.p", Body: []byte(`{}`)}
