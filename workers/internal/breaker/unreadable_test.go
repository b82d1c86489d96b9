package breaker_test

import (
	"testing"

	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// writeHalf replaces the account's record by half a document.
func (r *rig) writeHalf() { r.write("{") }

// write replaces the account's record by any text.
func (r *rig) write(body string) {
	r.T.Helper()
	_, err := r.JS.Publish(r.Ctx, subject.Circuit(bank, account), []byte(body))
	r.Must(err)
}

// A document that decodes and names no account, or another one, is no record.
func TestRecordOfAnotherAccountIsUnreadable(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"{}", "null", `{"provider":"` + bank + `","account":"behind","state":"open"}`} {
		r := setup(t)
		r.write(body)
		v, _ := r.cache()
		all, err := r.store.List(r.Ctx)
		r.Must(err)
		if len(all) != 1 || all[0].Account != account || all[0].Cause != "unreadable" || v.Acquire(bank, "behind").Denied {
			t.Errorf("with %s the records are %+v", body, all)
		}
	}
}

// One record must not keep the workers of all providers from starting.
func TestUnreadableRecordCountsAsClosed(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.writeHalf()
	r.Must(r.store.OpenBy(r.Ctx, bank, "behind", "ana"))
	v, _ := r.cache()
	if r.acquire(v).Denied || !v.Acquire(bank, "behind").Denied {
		t.Errorf("the account is denied: %v; the one after it: %v", r.acquire(v).Denied, v.Acquire(bank, "behind").Denied)
	}
	all, err := r.store.List(r.Ctx)
	r.Must(err)
	if len(all) != 2 || all[0].Account != account || all[0].State != record.CircuitClosed || all[0].Cause != "unreadable" {
		t.Errorf("the records are %+v", all)
	}
}

func TestUnreadableRecordIsReplaced(t *testing.T) {
	t.Parallel()
	t.Run("by a refusal", func(t *testing.T) {
		t.Parallel()
		r := setup(t)
		r.writeHalf()
		v, _ := r.cache()
		r.refuse(v, r.acquire(v))
		if c := r.recorded(); c.State != record.CircuitOpen || c.Cause != "credential" {
			t.Errorf("the record is %+v", c)
		}
	})
	t.Run("by an operator", func(t *testing.T) {
		t.Parallel()
		r := setup(t)
		r.writeHalf()
		r.Must(r.store.OpenBy(r.Ctx, bank, account, "ana"))
		if c := r.recorded(); c.State != record.CircuitOpen || c.By != "ana" {
			t.Errorf("the record is %+v", c)
		}
	})
}
