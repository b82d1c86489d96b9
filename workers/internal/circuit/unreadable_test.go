package circuit_test

import (
	"testing"

	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// scribble puts half a record in the place of the account's.
func (r *rig) scribble() { r.write("{") }

// write puts anything in the place of the account's record.
func (r *rig) write(body string) {
	r.t.Helper()
	_, err := r.JS.Publish(r.ctx, subject.Circuit(bank, account), []byte(body))
	r.must(err)
}

// A document that decodes and names no account, or another one, is no record.
func TestRecordOfAnotherAccountIsUnreadable(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"{}", "null", `{"provider":"` + bank + `","account":"behind","state":"open"}`} {
		r := setup(t)
		r.write(body)
		v, _ := r.view()
		all, err := r.board.List(r.ctx)
		r.must(err)
		if len(all) != 1 || all[0].Account != account || all[0].Cause != "unreadable" || v.Acquire(bank, "behind", 0).Held {
			t.Errorf("with %s the records are %+v", body, all)
		}
	}
}

// One record must not keep the workers of all providers from starting.
func TestRecordThatDoesNotDecodeStopsNobody(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.scribble()
	r.must(r.board.OpenBy(r.ctx, bank, "behind", "ana", r.now()))
	v, _ := r.view()
	if r.look(v).Held || !v.Acquire(bank, "behind", 0).Held {
		t.Errorf("the account waits: %v; the one behind it: %v", r.look(v).Held, v.Acquire(bank, "behind", 0).Held)
	}
	all, err := r.board.List(r.ctx)
	r.must(err)
	if len(all) != 2 || all[0].Account != account || all[0].State != record.CircuitClosed || all[0].Cause != "unreadable" {
		t.Errorf("the records are %+v", all)
	}
}

func TestRecordThatDoesNotDecodeIsReplaced(t *testing.T) {
	t.Parallel()
	t.Run("by a refusal", func(t *testing.T) {
		t.Parallel()
		r := setup(t)
		r.scribble()
		v, _ := r.view()
		r.refuse(v, r.look(v))
		if c := r.recorded(); c.State != record.CircuitOpen || c.Cause != "credential" {
			t.Errorf("the record is %+v", c)
		}
	})
	t.Run("by an operator", func(t *testing.T) {
		t.Parallel()
		r := setup(t)
		r.scribble()
		r.must(r.board.OpenBy(r.ctx, bank, account, "ana", r.now()))
		if c := r.recorded(); c.State != record.CircuitOpen || c.By != "ana" {
			t.Errorf("the record is %+v", c)
		}
	})
}
