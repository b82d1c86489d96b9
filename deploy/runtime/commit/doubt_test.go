package commit

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// answer gives the Committer an answer of the broker to a token.
func (c *Committer) answer(token uint64, text string) {
	c.answered(&nats.Msg{Subject: c.inbox + strconv.FormatUint(token, 36), Data: []byte(text)})
}

const (
	duplicateAck = `{"stream":"S","seq":7,"duplicate":true}`
	refusal      = `{"stream":"S","error":{"code":400,"err_code":%d}}`
)

// doubted is a Committer with a batch of three messages in doubt, which were sent alone.
func doubted(t *testing.T, now time.Time) (*Committer, *request) {
	t.Helper()
	c := bare(func(o *Options) { o.Stream = "S" })
	for i := range 3 {
		_, _ = c.put(strconv.Itoa(i), 1, now)
	}
	b := c.decide(now).batch
	c.doubt(b, batchSilent)
	if alone := c.decide(now).alone; len(alone) != 3 {
		t.Fatalf("%d of three messages in doubt are sent alone", len(alone))
	}
	return c, b
}

func TestDuplicateInDoubtIsNoSuccess(t *testing.T) {
	t.Parallel()
	c, b := doubted(t, time.Now())
	e := b.entries[1]
	c.answer(e.alone.token, duplicateAck)
	if e.state != done || !errors.Is(e.err, errUnproven) || e.receipt != (Receipt{}) {
		t.Errorf("%+v", e)
	}
}

func TestLateAckEndsTheDoubt(t *testing.T) {
	t.Parallel()
	c, b := doubted(t, time.Now())
	c.answer(b.token, `{"stream":"S","seq":9,"count":3}`)
	for i, e := range b.entries {
		if e.err != nil || e.receipt.Sequence != uint64(7+i) {
			t.Errorf("message %d: %+v", i, e)
		}
	}
	if c.late != nil {
		t.Error("its messages are kept")
	}
}

// Nothing of a refused batch is stored, so a duplicate is the message's own earlier attempt.
func TestLateRefusalEndsTheDoubt(t *testing.T) {
	t.Parallel()
	c, b := doubted(t, time.Now())
	c.answer(b.token, fmt.Sprintf(refusal, 10201))
	c.answer(b.entries[1].alone.token, duplicateAck)
	if e := b.entries[1]; e.state != done || e.err != nil || e.receipt.Sequence != 7 {
		t.Errorf("%+v", e)
	}
}

func TestUnsettledMessageInDoubtIsSentAgain(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c, b := doubted(t, now)
	e := b.entries[1]
	c.answer(e.alone.token, fmt.Sprintf(refusal, 10158))
	for range 2 { // It is sent once for each refusal.
		c.resend(now)
		if alone := c.decide(now).alone; e.sends == 2 && len(alone) == 1 && alone[0] != e || e.sends != 2 {
			t.Errorf("%d attempts, %v", e.sends, alone)
		}
	}
	c.answer(e.alone.token, `{"stream":"S","seq":9}`)
	if e.state != done || e.err != nil || e.receipt.Sequence != 9 {
		t.Errorf("%+v", e)
	}
}

func TestMessageInDoubtWaitsForTheNextConnection(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c, b := doubted(t, now)
	c.disconnected(now)
	if alone := c.decide(now).alone; len(alone) > 0 {
		t.Errorf("%d are sent without a connection", len(alone))
	}
	if _, err := c.put("next", 1, now); !errors.Is(err, ErrDisconnected) {
		t.Errorf("another message: %v", err)
	}
	c.resend(now)
	if alone := c.decide(now).alone; len(alone) != 3 || b.entries[0].state != inDoubt {
		t.Errorf("%d of three are sent with the next one", len(alone))
	}
}

func TestFirstBatchesOffThenOnAgain(t *testing.T) {
	t.Parallel()
	c, now := bare(func(o *Options) { o.Stream = "S" }), time.Now()
	three := func(at time.Time) outgoing {
		for i := range 3 {
			_, _ = c.put(strconv.Itoa(i), 1, at)
		}
		o := c.decide(at)
		for _, e := range o.alone {
			c.apply(e, stored, Receipt{}, nil)
		}
		return o
	}
	o := three(now)
	_, err := c.readAnswer(&nats.Msg{Data: []byte(fmt.Sprintf(refusal, 10174))}, o.batch)
	c.settle(o.batch, answer{}, err, now)
	for _, e := range c.decide(now).alone {
		c.apply(e, stored, Receipt{}, nil)
	}
	for _, e := range o.batch.entries {
		if e.state != done || e.err != nil {
			t.Errorf("%+v", e)
		}
	}
	if o := three(now.Add(time.Second)); o.batch != nil || len(o.alone) != 3 {
		t.Errorf("after it was refused as such: %+v", o)
	}
	if o := three(now.Add(2 * batchesOffFor)); o.batch == nil {
		t.Error("batches stay off")
	}
}
