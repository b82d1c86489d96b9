package expect_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/orderindex"
	"arauto/workers/internal/retry"
	"arauto/workers/lookup"
	"arauto/workers/workertest"
)

// A payout of the order is money out, so it does not pay the order a second time.
func TestPayoutOfTheOrderIsNoSecondPayment(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	r.says("p", state{status: "paid"})
	r.Notify(record.Notification{Payment: "p"})
	r.Until("the payment is paid", func() bool { return len(r.events("p")) == 1 })
	payout := r.events("p")[0]
	payout.Kind, payout.Payment, payout.Final = order.Payout, "out", true
	token := r.Tokens.Token("o-p")
	r.Must(orderindex.Add(r.Ctx, commit.Direct{JS: r.JS}, r.Unit("out"), token))
	body, err := json.Marshal(payout)
	r.Must(err)
	m := nats.Msg{Subject: r.Unit("out").Event(token, order.Paid), Data: body, Header: nats.Header{}}
	for name, value := range payout.CloudEvent("", payout.Order) {
		m.Header.Set(name, value)
	}
	_, err = r.JS.PublishMsg(r.Ctx, &m)
	r.Must(err)
	r.expects("p", brl(10000), in(time.Hour))
	r.settled("p")
	same(t, "paid once", r.outcomes("p"), met)
}

// sweep may remove a notification as soon as its look-up is made.
func TestNotificationThatWasRemovedHasAnnouncedTheChange(t *testing.T) {
	t.Parallel()
	r := open(t, 600)
	b := workertest.Bench{Bench: r.Bench}
	r.says("p", state{status: "paid"})
	r.expects("p", brl(10000), in(time.Hour))
	r.Must(r.walk.Round(r.Ctx)) // The look-up is scheduled before the webhook is stored.
	covered := r.Notify(record.Notification{Payment: "p"})
	r.lookUpWithout(b)
	r.Until("the event", func() bool { return len(r.events("p")) == 1 })
	last := testbench.Documents[order.Observation](r.Bench, subject.Statuses, r.Unit("p").Status())
	if e := r.events("p")[0]; e.Notification != nil || last[0].Covers != covered {
		t.Fatalf("the webhook prompted the look-up: %+v, %+v", e, last)
	}
	r.Must(r.Stream(subject.Notifications).Purge(r.Ctx))
	b.Consume(subject.Orders, subject.ExpectConsumer, 8, r.worker.Handle)
	r.Go("walk", r.walk.Run)
	r.settled("p")
	same(t, "announced", r.outcomes("p"), met)
}

// What an announcer writes into a subject makes no further series of a metric.
func TestProviderThatDoesNotExistMakesNoSeries(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	for i := range 3 {
		_, err := r.JS.Publish(r.Ctx, fmt.Sprintf("expect.no-bank-%d.default.p", i), []byte(`{}`))
		r.Must(err)
	}
	r.Until("all are refused", func() bool { return len(r.Messages(subject.Expectations, subject.AllExpected)) == 0 })
	families, err := r.metrics.Gather()
	r.Must(err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if strings.HasPrefix(l.GetValue(), "no-bank") {
					t.Errorf("%s has a series of %s", family.GetName(), l.GetValue())
				}
			}
		}
	}
}

// What a service may have any number of leaves half of OUTCOMES for what is known of payments.
func TestRefusalsLeaveRoomForOutcomes(t *testing.T) {
	t.Parallel()
	r := open(t, 600)
	outcomes := r.Stream(subject.Outcomes)
	limited := outcomes.CachedInfo().Config
	limited.MaxBytes = 128 << 10
	_, err := r.JS.UpdateStream(r.Ctx, limited)
	r.Must(err)
	const refusals = 200
	for i := range refusals {
		_, err := r.JS.Publish(r.Ctx, r.Unit(fmt.Sprint("bad-", i)).Expected(), []byte(`{}`))
		r.Must(err)
	}
	r.Go("walk", r.walk.Run)
	r.Until("every refused one is removed", func() bool { return len(r.Messages(subject.Expectations, subject.AllExpected)) == 0 })
	info, err := outcomes.Info(r.Ctx)
	r.Must(err)
	// The walk judges some at a time, each of which may have read that there is room.
	if n := info.State.Msgs; n < 50 || n > 130 || info.State.Bytes > 104<<10 {
		t.Errorf("%d of %d refusals take %d bytes of 128 KiB", n, refusals, info.State.Bytes)
	}
}

// LOOKUP_RETRIES has no bound of its own, and a full store stops every webhook.
func TestWhatIsExpectedLeavesRoomForWebhooks(t *testing.T) {
	t.Parallel()
	r := open(t, 1)
	r.worker.Retries.SetLimit(1, 0)
	r.expects("p", nil, in(time.Hour))
	r.Must(r.walk.Round(r.Ctx))
	r.expects("q", nil, in(time.Hour))
	if err := r.walk.Round(r.Ctx); !errors.Is(err, retry.ErrFull) {
		t.Errorf("above its share: %v", err)
	}
	q := r.Tokens.Waiting("sandbox", "default", "q")
	parked := func() int {
		return len(r.Messages(subject.LookupRetries, q.Parked())) + len(r.Messages(subject.LookupRetries, q.Due()))
	}
	if n := parked(); n != 0 {
		t.Errorf("%d look-ups are scheduled above the share", n)
	}
	r.worker.Retries.SetLimit(1<<20, 0)
	r.Go("walk", r.walk.Run)
	r.Until("the other is looked up once there is room", func() bool { return parked() == 1 })
}

// lookUpWithout runs lookup for what is scheduled, and normalize, but not lookup's consumer
// of notifications.
func (r *rig) lookUpWithout(b workertest.Bench) {
	r.T.Helper()
	worker := b.Lookup(provider.Account{Name: "default", Settings: map[string]string{"base_url": r.provider, "token": "t"}}, lookup.Limits{})
	b.Consume(subject.LookupRetries, subject.LookupDueConsumer("sandbox"), 16, worker.HandleDue)
	b.Consume(subject.Statuses, subject.NormalizeConsumer, 16, b.Fold().Handle)
}
