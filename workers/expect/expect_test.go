package expect_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/expect"
)

const (
	met         = expectation.Met
	mismatch    = expectation.AmountMismatch
	late        = expectation.PaidLate
	twice       = expectation.PaidTwice
	never       = expectation.NeverPaid
	unannounced = expectation.Unannounced
	refused     = expectation.Refused
	withdrawn   = expectation.Withdrawn
)

func same(t *testing.T, what string, got []expectation.Word, want ...expectation.Word) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: outcomes %v, want %v", what, got, want)
	}
}

func TestExpectedPaymentIsLookedUpWithoutAWebhook(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	r.says("p", state{status: "paid"})
	r.expects("p", brl(10000), in(time.Hour))
	same(t, "paid and unannounced", r.awaits("p", 2), met, unannounced)
	r.settled("p")
	events := testbench.Documents[order.Event](r.Bench, subject.Orders, r.Unit("p").Events())
	if len(events) != 1 || events[0].Status != order.Paid || events[0].Order != "o-p" {
		t.Errorf("the log is %+v", events)
	}
	if n := r.lookups("p"); n != 1 {
		t.Errorf("it was looked up %d times", n)
	}
}

func TestWebhookMeetsAnExpectationWithoutAFurtherLookUp(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	r.says("p", state{status: "paid"})
	r.Notify(record.Notification{Payment: "p"})
	r.Until("the event", func() bool { return len(r.events("p")) == 1 })
	r.expects("p", brl(10000), in(time.Hour))
	same(t, "paid before it was announced", r.awaits("p", 1), met)
	r.settled("p")
	if n := r.lookups("p"); n != 1 {
		t.Errorf("it was looked up %d times", n)
	}
}

func TestFaultsHaveTheirOutcomes(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	for _, c := range []struct {
		payment string
		state   state
		amount  *expectation.Amount
		want    []expectation.Word
	}{
		{"less", state{status: "paid", amount: 9000}, brl(10000), []expectation.Word{mismatch, unannounced}},
		{"currency", state{status: "paid"}, &expectation.Amount{Currency: "USD", Value: 10000}, []expectation.Word{mismatch, unannounced}},
		{"any", state{status: "paid", amount: 1}, nil, []expectation.Word{met, unannounced}},
		{"refused", state{status: "refused"}, brl(10000), []expectation.Word{never, unannounced}},
		{"pending", state{status: "pending"}, brl(10000), []expectation.Word{never}},
	} {
		t.Run(c.payment, func(t *testing.T) {
			r.says(c.payment, c.state)
			r.expects(c.payment, c.amount, in(2*time.Second))
			same(t, c.payment, r.awaits(c.payment, len(c.want)), c.want...)
			r.settled(c.payment)
		})
	}
	if letters := r.Messages(subject.DeadLetters, subject.AllDeadLetters); len(letters) > 0 {
		t.Errorf("%d dead letters", len(letters))
	}
	o := r.published("less")[0]
	if o.Paid == nil || *o.Paid != *brl(9000) || o.Expected == nil || *o.Expected != *brl(10000) || o.Transition == nil || *o.Transition != 1 {
		t.Errorf("the mismatch says %+v", o)
	}
}

// An unknown payment is no failure before its deadline: no dead letter, and one answer after
// the deadline says that it was never paid.
func TestUnknownPaymentIsNeverPaidOnceItsDeadlineHasPassed(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	deadline := in(3 * time.Second)
	r.expects("p", brl(10000), deadline)
	r.Until("it was looked up twice", func() bool { return r.lookups("p") >= 2 })
	r.Until("the next look-up waits", func() bool {
		waiting := testbench.Documents[record.ScheduledLookUp](r.Bench, subject.LookupRetries, r.Tokens.Waiting("sandbox", "default", "p").Parked())
		if len(waiting) == 0 {
			return false
		}
		if one := waiting[0]; one.NotFound != 0 || one.Attempts != 0 || one.FirstFailure != nil || one.Reason != string(order.CauseExpectation) || len(one.FailedLookUps) != 1 {
			t.Errorf("what waits is %+v", one)
		}
		return true
	})
	same(t, "never known", r.awaits("p", 1), never)
	if o := r.published("p")[0]; o.At.Before(*deadline) || o.Status != nil || o.Reason == nil {
		t.Errorf("the outcome is %+v", o)
	}
	r.settled("p")
	if letters := r.Messages(subject.DeadLetters, subject.AllDeadLetters); len(letters) > 0 {
		t.Errorf("%d dead letters", len(letters))
	}
	r.Until("no look-up is left", func() bool {
		return len(r.Messages(subject.LookupRetries, r.Tokens.Waiting("sandbox", "default", "p").Parked())) == 0
	})
}

func TestPaymentAfterNeverPaidIsLate(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	r.says("p", state{status: "pending"})
	r.expects("p", brl(10000), in(time.Second))
	same(t, "unpaid", r.awaits("p", 1), never)
	r.settled("p")
	r.says("p", state{status: "paid"})
	r.Notify(record.Notification{Payment: "p"})
	same(t, "paid afterwards", r.awaits("p", 2), never, late)
}

func TestSecondPaidPaymentOfAnOrderIsFoundWhicheverIsExpected(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	pay := func(payment string) {
		r.says(payment, state{status: "paid", order: "o-p"})
		r.Notify(record.Notification{Payment: payment})
		r.Until(payment+" is paid", func() bool { return len(r.events(payment)) == 1 })
	}
	r.expects("p", brl(10000), in(time.Hour))
	pay("p")
	same(t, "the first", r.awaits("p", 1), met)
	r.settled("p")
	pay("elsewhere") // Of another shop, whose order has the same number.
	pay("q")         // Of the same order, and not expected.
	same(t, "the second", r.awaits("p", 2), met, twice)
	if o := r.published("p")[1]; o.Other == nil || o.Other.Payment != "q" {
		t.Errorf("the outcome is %+v", o)
	}
	r.Publish(r.Unit("q").Expected(), expectation.Expectation{Order: "o-p"})
	same(t, "announced afterwards", r.awaits("q", 1), twice)
	r.Publish(r.Unit("elsewhere").Expected(), expectation.Expectation{Order: "o-p"})
	same(t, "in another shop", r.awaits("elsewhere", 1), met)
}

// The same expectation again is one; another one replaces it; it can be withdrawn.
func TestExpectationIsReplacedAndWithdrawn(t *testing.T) {
	t.Parallel()
	r := setup(t, 1)
	deadline := in(time.Hour)
	r.says("p", state{status: "pending"})
	r.expects("p", brl(10000), deadline)
	r.Until("it was looked up", func() bool { return r.lookups("p") == 1 })
	r.expects("p", brl(10000), deadline)
	r.expects("p", brl(5000), deadline)
	if n := len(r.Messages(subject.Expectations, subject.AllExpected)); n != 1 {
		t.Errorf("%d expectations are stored", n)
	}
	r.says("p", state{status: "paid"})
	r.Notify(record.Notification{Payment: "p"})
	same(t, "by the version that was announced last", r.awaits("p", 1), mismatch)
	r.settled("p")
	r.expects("p", brl(5000), deadline) // A repetition: the version was judged.
	r.settled("p")
	same(t, "the same version", r.outcomes("p"), mismatch)

	r.expects("w", nil, deadline)
	r.Publish(r.Unit("w").Expected(), expectation.Expectation{Withdrawn: true})
	same(t, "withdrawn", r.awaits("w", 1), withdrawn)
	r.settled("w")
}

func TestUnreadableExpectationIsRefusedAloud(t *testing.T) {
	t.Parallel()
	r := setup(t, 1)
	const cpf = "12345678909"
	hashed := r.Unit(cpf)
	for name, c := range map[string]struct{ on, body string }{
		"no object":     {r.Unit("a").Expected(), `[]`},
		"no order":      {r.Unit("b").Expected(), `{"amount": null}`},
		"a broken sum":  {r.Unit("c").Expected(), `{"order":"o","amount":{"currency":"BRL","value":1.5}}`},
		"another id":    {r.Unit("d").Expected(), `{"order":"o","payment":"e"}`},
		"a hash alone":  {hashed.Expected(), `{"order":"o"}`},
		"a CPF as such": {"expect.sandbox.default." + cpf, `{"order":"o","amount":null}`},
	} {
		u, err := subject.ParseUnit(c.on)
		r.Must(err)
		if name == "a CPF as such" {
			u = hashed
		}
		if name == "another id" {
			u = r.Unit("e")
		}
		before := len(testbench.Documents[expectation.Outcome](r.Bench, subject.Outcomes, u.Outcomes()))
		_, err = r.JS.Publish(r.Ctx, c.on, []byte(c.body))
		r.Must(err)
		r.Until(name+" is refused", func() bool {
			all := testbench.Documents[expectation.Outcome](r.Bench, subject.Outcomes, u.Outcomes())
			return len(all) > before && all[len(all)-1].Outcome == refused && all[len(all)-1].Reason != nil
		})
	}
	r.Until("nothing is left", func() bool { return len(r.Messages(subject.Expectations, subject.AllExpected)) == 0 })
	if letters := r.Messages(subject.DeadLetters, subject.AllDeadLetters); len(letters) > 0 {
		t.Errorf("%d dead letters, which a service could fill the stream with", len(letters))
	}
	for _, raw := range r.Messages(subject.Outcomes, subject.AllOutcomes) {
		if strings.Contains(raw.Subject, cpf) || strings.Contains(raw.Header.Get("ce-subject"), cpf) {
			t.Errorf("a CPF is on %s, %v", raw.Subject, raw.Header)
		}
	}
	if n := r.lookups(cpf); n != 0 {
		t.Errorf("a refused payment was looked up %d times", n)
	}
}

// A hashed id can be expected if the body names it.
func TestHashedPaymentIsExpectedByItsId(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	const id = "someone@example.com"
	r.says(id, state{status: "paid"})
	r.Publish(r.Unit(id).Expected(), expectation.Expectation{Order: "o", Payment: id})
	if words := r.awaits(id, 1); words[0] != met {
		t.Errorf("outcomes %v", words)
	}
}

// Before, after or without the webhook, the log is the same.
func TestOrderLogIsTheSameWithAndWithoutExpectation(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	steps := map[string]func(string){
		"expect": func(p string) { r.expects(p, brl(10000), in(time.Hour)) },
		"notify": func(p string) { r.Notify(record.Notification{Payment: p, Order: "o-" + p}) },
		"pay":    func(p string) { r.says(p, state{status: "paid", order: "o-" + p}) },
	}
	var logs []string
	for i, way := range [][]string{
		{"pay", "notify"}, {"pay", "expect"}, {"expect", "pay"}, {"pay", "notify", "expect"}, {"pay", "expect", "notify"},
		{"expect", "pay", "notify"}, {"expect", "notify", "pay"}, {"notify", "expect", "pay"},
	} {
		payment := fmt.Sprintf("w-%d", i)
		for _, step := range way {
			steps[step](payment)
		}
		r.Until(strings.Join(way, ", "), func() bool { return len(r.events(payment)) > 0 })
		if slices.Contains(way, "expect") {
			if words := r.awaits(payment, 1); words[0] != met {
				t.Errorf("%v: outcomes %v", way, words)
			}
		}
		var log strings.Builder
		for _, e := range r.events(payment) {
			e.ObservedAt, e.Observation, e.Notification, e.OccurredAt = time.Time{}, 0, nil, nil
			text, err := json.Marshal(e)
			r.Must(err)
			log.WriteString(strings.ReplaceAll(string(text), payment, "P") + "\n")
		}
		logs = append(logs, log.String())
		if logs[i] != logs[0] {
			t.Errorf("%v gives the log\n%s, want\n%s", way, logs[i], logs[0])
		}
	}
}

func TestRepeatedOutcomesOfManyProcessesAreOne(t *testing.T) {
	t.Parallel()
	r := setup(t, 600)
	others := expect.NewMetrics(prometheus.NewRegistry(), "sandbox")
	const copies = 3
	for range copies {
		r.Go("walk", expect.NewWalk(r.another(others), "sandbox").Run)
	}
	const payments = 40
	for i := range payments {
		r.says(fmt.Sprint("m-", i), state{status: "paid"})
		r.expects(fmt.Sprint("m-", i), brl(10000), in(time.Hour))
	}
	for i := range payments {
		payment := fmt.Sprint("m-", i)
		r.settled(payment)
		same(t, payment, r.outcomes(payment), met, unannounced)
		if n := r.lookups(payment); n > 1+copies { // Each may have it looked up once.
			t.Errorf("%s was looked up %d times", payment, n)
		}
	}
}
