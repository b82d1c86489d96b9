package breaker_test

import (
	"testing"
	"time"
)

func TestOnlyAProbesAnswerProvesTheCredential(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.cache()
	if v.Proven(r.acquire(v)) {
		t.Error("an account of which nothing is known has a proven credential")
	}
	r.Must(r.store.CloseBy(r.Ctx, bank, account, "ana"))
	v, _ = r.cache()
	if v.Proven(r.acquire(v)) {
		t.Error("an operator's record proves the credential")
	}
	r.refuse(v, r.acquire(v))
	r.clock.Advance(6 * time.Second)
	probe := r.probe(v)
	if v.Proven(probe) {
		t.Error("a probe in flight proves the credential")
	}
	r.Must(v.Answered(r.Ctx, probe))
	permit := r.acquire(v)
	if !v.Proven(permit) {
		t.Error("a probe's answer proves nothing")
	}
	r.refuse(v, r.acquire(v))
	if v.Proven(permit) {
		t.Error("the credential is proven although it was refused since")
	}
}
