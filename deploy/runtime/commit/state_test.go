package commit

import (
	"testing"
)

// TestTransitionsKeepThePromise walks the whole table.
func TestTransitionsKeepThePromise(t *testing.T) {
	t.Parallel()
	for from := range states {
		for on := range events {
			next := transitions[from][on]
			if (next.do == finish) != (next.to == done) {
				t.Errorf("state %d, event %d: a message is done exactly when its caller has the result: %+v", from, on, next)
			}
			if from == done && next.to != 0 {
				t.Errorf("event %d gives a message a second result", on)
			}
			if next.to == 0 && next.do != nothing {
				t.Errorf("state %d, event %d: an ignored event does %d", from, on, next.do)
			}
		}
		if from == 0 || from == done {
			continue
		}
		if transitions[from][expired].to != done {
			t.Errorf("state %d survives the timeout", from)
		}
		if from != queued && transitions[from][disconnected].do != resendSoon {
			t.Errorf("state %d: a message that was sent is not sent again with the next connection", from)
		}
		if from != queued && transitions[from][stored].to != done {
			t.Errorf("state %d: a stored message has no result", from)
		}
	}
	if transitions[queued][disconnected].to != done {
		t.Error("a message that was not sent waits for the next connection")
	}
}

// A duplicate says nothing of the durability of a message in doubt.
func TestDoubtIsNoSuccess(t *testing.T) {
	t.Parallel()
	for on := range events {
		c := &Committer{alone: map[uint64]*request{}, pending: 1}
		e := &entry{state: inDoubt}
		c.apply(e, on, Receipt{Sequence: 7, Duplicate: on == known}, nil)
		success := e.state == done && e.err == nil && on != expired && on != refused
		if success != (on == stored) {
			t.Errorf("event %d: success %v", on, success)
		}
	}
}
