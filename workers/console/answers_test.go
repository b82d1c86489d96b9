package console

import (
	"fmt"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

// observe stores an answer of the provider about a payment of an account.
func (r *rig) observe(of account, payment string) {
	r.T.Helper()
	r.Publish(r.Tokens.Unit(of.provider, of.name, payment).Status(), order.Observation{
		Provider: of.provider, Account: of.name, Kind: order.Payment, Payment: payment, Order: "o-" + payment, Status: order.Paid, ProviderStatus: "approved",
		Confirmed: true, Cause: order.CauseSweep,
	})
}

func TestQuietAccountKeepsItsLastAnswer(t *testing.T) {
	t.Parallel()
	r := start(t)
	busy, quiet, silent := account{"sandbox", "default"}, account{"sandbox", "quiet"}, account{"sandbox", "silent"}
	accounts, all, now := []account{busy, quiet, silent}, &r.site.watch.answers, time.Now()
	look := func(when string, answered int) {
		t.Helper()
		r.Must(all.update(r.Ctx, r.JS, accounts, now))
		if got := all.of(quiet); got.Answers != answered || got.Last.IsZero() {
			t.Errorf("%s the quiet account has %+v, want %d answers", when, got, answered)
		}
		if got := all.of(busy); got.Answers != keptAnswers {
			t.Errorf("%s the busy account has %d answers", when, got.Answers)
		}
		if got := all.of(silent); got.Answers != 0 || !got.Last.IsZero() {
			t.Errorf("%s the silent account has %+v", when, got)
		}
	}
	flood := func() {
		for n := range answersAtOnce + 1 {
			r.observe(busy, fmt.Sprint("p-", n))
		}
	}
	r.observe(quiet, "q-1")
	flood()
	look("at first", 1)
	flood()
	look("after many others", 1)
	r.observe(quiet, "q-2")
	flood()
	now = now.Add(quietEvery)
	look("after one among many others", 2)
	look("without anything new", 2)
}

func TestDeadProviderShowsTheFailuresOfWhatWaits(t *testing.T) {
	t.Parallel()
	r := start(t)
	store, err := retry.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	for _, payment := range []string{"p-1", "p-2"} {
		r.Must(store.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: "o-" + payment, Cause: order.CauseNotification,
			Reason: string(record.Unavailable), Attempts: 2, DueAt: time.Now().Add(time.Hour).UTC(),
			FailedLookUps: []order.FailedLookUp{{At: time.Now(), Class: "transport", Error: "connection refused", Attempt: 1}, {At: time.Now(), Class: "unavailable", Error: "status 503", HTTP: 503, Attempt: 2}},
		}))
	}
	r.look()
	holds(t, r.browser("joao").see("/providers"), "Failures of its parked look-ups</dt><dd>no answer 2<br>unavailable 2<br></dd>")
}
