package fold_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/normalize/fold"
)

// turned are the spans of production on a clock that runs 100 times as fast. The broker's
// schedules are real: a minute takes 600 ms.
var turned = order.Standard.Scaled(100)

// provider answers one payment's look-ups, including the ones normalize schedules.
type provider struct {
	bench
	worker  *fold.Worker
	payment string
	due     jetstream.Consumer
}

func newProvider(t *testing.T, payment string) *provider {
	t.Helper()
	return newProviderWithin(t, payment, turned)
}

func newProviderWithin(t *testing.T, payment string, spans order.Spans) *provider {
	t.Helper()
	b := setup(t)
	b.spans = spans
	due, err := b.JS.Consumer(b.Ctx, subject.LookupRetries, subject.LookupDueConsumer("sandbox"))
	testbench.Must(t, err)
	return &provider{bench: b, worker: b.worker(t, b.JS), payment: payment, due: due}
}

// says stores an answer of the provider.
func (p *provider) says(word string, refunded int64) {
	p.T.Helper()
	m := p.observe(p.T, p.payment, word, refunded)
	for range 2 { // Redelivery changes nothing.
		p.Must(p.worker.Handle(p.Ctx, m))
	}
}

// asked waits until the next scheduled look-up is due and returns its cause.
func (p *provider) asked() record.ScheduledLookUp {
	p.T.Helper()
	fired, err := p.due.Next(jetstream.FetchMaxWait(30 * time.Second))
	if err != nil {
		p.T.Fatalf("no look-up came due: %v", err)
	}
	var parked record.ScheduledLookUp
	p.Must(json.Unmarshal(fired.Data(), &parked))
	p.Must(fired.DoubleAck(p.Ctx))
	return parked
}

// idle reports a look-up that is scheduled although the provider agrees with the log.
func (p *provider) idle() {
	p.T.Helper()
	stream, err := p.JS.Stream(p.Ctx, subject.LookupRetries)
	p.Must(err)
	if n := stream.CachedInfo().State.Msgs; n != 0 {
		p.T.Errorf("%d look-ups are parked", n)
	}
}

func TestPaidAfterCanceledIsACorrection(t *testing.T) {
	t.Parallel()
	for _, final := range []string{"canceled", "expired", "refused", "failed"} {
		t.Run(final, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, "o-1")
			p.says(final, 0)
			p.says("paid", 0)
			if got := p.asked(); got.Cause != order.CauseConfirmation {
				t.Errorf("the confirmation is %+v", got)
			}
			p.says("paid", 0)
			log := p.log(t, "o-1")
			if len(log) != 2 || log[1].Status != order.Paid || !log[1].Correction || log[0].Correction {
				t.Fatalf("the log is %v", summary(log))
			}
			if deadLetters := p.deadLetters(t, "o-1"); len(deadLetters) != 0 {
				t.Errorf("dead letters are %+v", deadLetters)
			}
			p.idle()
		})
	}
}

// A fresh answer between the first and the confirming one neither expedites nor cancels
// the confirmation, and a look-up that is due sooner leads to it.
func TestConfirmationKeepsItsDueTimeAfterFreshAnswers(t *testing.T) {
	t.Parallel()
	p := newProviderWithin(t, "o-1", order.Standard.Scaled(10)) // The fresh answer is handled before the six seconds are over.
	p.says("canceled", 0)
	p.says("paid", 0)
	parked := func() record.ScheduledLookUp {
		t.Helper()
		stream, err := p.JS.Stream(p.Ctx, subject.LookupRetries)
		testbench.Must(t, err)
		raw, err := stream.GetLastMsgForSubject(p.Ctx, "lookup.parked.>")
		testbench.Must(t, err)
		var parked record.ScheduledLookUp
		testbench.Must(t, json.Unmarshal(raw.Data, &parked))
		return parked
	}
	first := parked()
	p.says("paid", 0)
	if again := parked(); !again.DueAt.Equal(first.DueAt) || again.Cause != order.CauseConfirmation {
		t.Errorf("after a fresh answer %+v is parked, want %s", again, first.DueAt)
	}
	p.asked()
	p.says("paid", 0)
	if log := p.log(t, "o-1"); len(log) != 2 {
		t.Errorf("the log is %v", summary(log))
	}
}

func TestInsistedContradictionIsOneDeadLetterUntilResolved(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "o-1")
	insist := func(word string) {
		t.Helper()
		told := len(p.deadLetters(t, "o-1"))
		p.says(word, 0)
		for lookUps := 0; len(p.deadLetters(t, "o-1")) == told; lookUps++ { // Three, fewer on a slow machine.
			if got := p.asked(); lookUps == 3 || got.Cause != order.CauseRecheck || got.Rechecks != record.MaxRechecks {
				t.Fatalf("look-up %d is %+v", lookUps+1, got)
			}
			p.says(word, 0)
		}
	}
	states := func() (all []string) {
		for _, l := range p.deadLetters(t, "o-1") {
			all = append(all, fmt.Sprintf("%s %s", l.ProviderStatus, l.State))
		}
		return all
	}
	p.says("paid", 0)
	insist("expired")
	p.says("expired", 0) // Nothing new.
	deadLetters := p.deadLetters(t, "o-1")
	if len(deadLetters) != 1 || deadLetters[0].Class != record.ClassData || deadLetters[0].Insists == nil {
		t.Fatalf("dead letters are %+v", deadLetters)
	}
	if i := deadLetters[0].Insists; i.Status != order.Expired || i.Published != order.Paid || i.Since.IsZero() {
		t.Errorf("the provider insists on %+v", i)
	}
	p.says("paid", 0)
	if got := states(); len(got) != 2 || got[1] != "expired resolved" {
		t.Errorf("after the provider agreed the dead letters are %v", got)
	}
	insist("expired")
	p.says("refunded", 10000) // A status that may follow the published one agrees too.
	if got := states(); len(got) != 4 || got[2] != "expired " || got[3] != "expired resolved" {
		t.Errorf("the second time the dead letters are %v", got)
	}
}

func TestThirdCorrectionIsDeadLetteredToo(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "o-1")
	p.says("canceled", 0)
	for number, word := range []string{"paid", "canceled", "paid"} {
		if deadLetters := p.deadLetters(t, "o-1"); len(deadLetters) != 0 {
			t.Errorf("before correction %d the dead letters are %+v", number+1, deadLetters)
		}
		p.says(word, 0)
		p.asked()
		p.says(word, 0)
	}
	log := p.log(t, "o-1")
	if len(log) != 4 || !log[1].Correction || !log[2].Correction || !log[3].Correction {
		t.Errorf("the log is %v", summary(log))
	}
	if deadLetters := p.deadLetters(t, "o-1"); len(deadLetters) != 1 || deadLetters[0].Class != record.ClassData || deadLetters[0].Observation != log[3].Observation {
		t.Errorf("dead letters are %+v", deadLetters)
	}
}

func TestPaidAfterRefundedNeedsThreeAnswers(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "o-1")
	p.says("refunded", 10000)
	p.says("paid", 0)
	for range 2 {
		p.asked()
		if log := p.log(t, "o-1"); len(log) != 1 {
			t.Fatalf("too soon the log is %v", summary(log))
		}
		p.says("paid", 0)
	}
	if log := p.log(t, "o-1"); len(log) != 2 || !log[1].Correction || log[1].Amount.Refunded != 0 {
		t.Errorf("the log is %v", summary(log))
	}
}

// open lists the ids of the payment's dead letters that are open.
func (p *provider) open() map[string]record.DeadLetter {
	p.T.Helper()
	open := map[string]record.DeadLetter{}
	for _, l := range p.deadLetters(p.T, p.payment) {
		if delete(open, l.ID); l.State == record.Open {
			open[l.ID] = l
		}
	}
	return open
}

// insists repeats an answer until it has a dead letter.
func (p *provider) insists(word string, refunded int64) {
	p.T.Helper()
	before := len(p.deadLetters(p.T, p.payment))
	for len(p.deadLetters(p.T, p.payment)) == before {
		p.says(word, refunded)
		if len(p.deadLetters(p.T, p.payment)) == before {
			p.asked()
		}
	}
}

// A worker without a cache folds the payment's observations from its last event on.
func TestOldAgreementResolvesNoNewerDeadLetter(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "o-1")
	p.says("paid", 0)
	p.insists("expired", 0)
	p.says("paid", 0)
	if open := p.open(); len(open) != 0 {
		t.Fatalf("after the provider has agreed these are open: %+v", open)
	}
	p.insists("expired", 0)
	if open := p.open(); len(open) != 1 {
		t.Fatalf("these are open: %+v", open)
	}
	stream, err := p.JS.Stream(p.Ctx, subject.Statuses)
	testbench.Must(t, err)
	last, err := stream.GetLastMsgForSubject(p.Ctx, p.Unit("o-1").Status())
	testbench.Must(t, err)
	testbench.Must(t, p.bench.worker(t, p.JS).Handle(p.Ctx, &testbench.Delivered{RawStreamMsg: last}))
	if open := p.open(); len(open) != 1 {
		t.Errorf("after folding again these are open: %+v", open)
	}
}

func TestContradictionOfAnotherSumHasItsDeadLetter(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "o-1")
	p.says("paid", 0)
	p.says("refunded", 10000)
	p.insists("in_analysis", 100)
	p.insists("in_analysis", 200)
	if deadLetters := p.deadLetters(t, "o-1"); len(deadLetters) != 2 || deadLetters[1].Insists.Refunded != 200 {
		t.Errorf("dead letters are %+v", deadLetters)
	}
}

// A payment is corrected from canceled to authorized, and then voided: it was paid
// before, so that is a refund.
func TestWorkerWithoutCacheKnowsThatAPaymentWasPaid(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "o-1")
	p.says("paid", 0)
	p.says("canceled", 0)
	p.says("authorized", 0)
	p.asked()
	p.says("authorized", 0)
	before := p.log(t, "o-1")
	if last := before[len(before)-1]; last.Status != order.Authorized || !last.Correction {
		t.Fatalf("the log is %v", summary(before))
	}
	p.worker = p.bench.worker(t, p.JS)
	void, err := json.Marshal(order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "o-1", Order: "o-1",
		Status: order.Refunded, ProviderStatus: "refunded", Confirmed: true, Cause: order.CauseNotification,
		Amount: &order.Amount{Currency: "BRL", Value: 10000, Authorized: 10000}, AnsweredAt: time.Now(),
	})
	testbench.Must(t, err)
	m := p.deliver(t, &nats.Msg{Subject: p.Unit("o-1").Status(), Data: void})
	testbench.Must(t, p.worker.Handle(p.Ctx, m))
	after := p.log(t, "o-1")
	if last := after[len(after)-1]; len(after) != len(before)+1 || last.Status != order.Refunded {
		t.Errorf("the log is %v", summary(after))
	}
}
