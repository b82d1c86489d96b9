package circuit_test

import (
	"testing"
	"time"
)

func TestOnlyAProbesAnswerProvesTheCredential(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.view()
	if v.Proven(r.look(v)) {
		t.Error("an account of which nothing is known has a proven credential")
	}
	r.must(r.board.CloseBy(r.ctx, bank, account, "ana", r.now()))
	v, _ = r.view()
	if v.Proven(r.look(v)) {
		t.Error("an operator's word proves the credential")
	}
	r.refuse(v, r.look(v))
	r.pass(6 * time.Second)
	probe := r.claim(v)
	if v.Proven(probe) {
		t.Error("a probe that is under way proves the credential")
	}
	r.must(v.Answered(r.ctx, probe))
	pass := r.look(v)
	if !v.Proven(pass) {
		t.Error("a probe's answer proves nothing")
	}
	r.refuse(v, r.look(v))
	if v.Proven(pass) {
		t.Error("it is proven although it has been refused since")
	}
}
