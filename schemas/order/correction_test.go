package order_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/schemas/order"
)

// answer is one confirmed answer and what it must mean, after a pause.
type answer struct {
	after   time.Duration
	status  order.Status
	sum     int64
	outcome order.Outcome
}

func TestCorrectionsNeedTheirRun(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	for name, c := range map[string]struct {
		from order.Standing
		run  []answer
	}{
		"money after a cancellation": {order.Standing{Status: order.Canceled}, []answer{
			{0, order.Paid, 0, order.Unconfirmed}, {minute - 1, order.Paid, 0, order.Unconfirmed}, {1, order.Paid, 0, order.Applied},
		}},
		"another word between": {order.Standing{Status: order.Expired}, []answer{
			{0, order.Paid, 0, order.Unconfirmed}, {2 * time.Second, order.Pending, 0, order.Late}, {minute, order.Paid, 0, order.Unconfirmed}, {minute, order.Paid, 0, order.Applied},
		}},
		"another sum": {order.Standing{Status: order.Refused}, []answer{
			{0, order.PartiallyRefunded, 1, order.Unconfirmed}, {minute, order.PartiallyRefunded, 2, order.Unconfirmed}, {minute, order.PartiallyRefunded, 2, order.Applied},
		}},
		"an answer that agrees ends the run": {order.Standing{Status: order.Canceled}, []answer{
			{0, order.Paid, 0, order.Unconfirmed}, {minute, order.Canceled, 0, order.Unchanged}, {minute, order.Paid, 0, order.Unconfirmed},
		}},
		"a refund taken back": {order.Standing{Status: order.Refunded, Refunded: 100}, []answer{
			{0, order.Paid, 0, order.Unconfirmed}, {15 * minute, order.Paid, 0, order.Unconfirmed}, {1, order.Paid, 0, order.Applied},
		}},
		"three answers too soon": {order.Standing{Status: order.PartiallyRefunded, Refunded: 100}, []answer{
			{0, order.PartiallyRefunded, 40, order.Unconfirmed}, {minute, order.PartiallyRefunded, 40, order.Unconfirmed},
			{14*minute - 1, order.PartiallyRefunded, 40, order.Unconfirmed}, {1, order.PartiallyRefunded, 40, order.Applied},
		}},
		"a chargeback after the refund": {order.Standing{Status: order.Refunded, Refunded: 100}, []answer{
			{0, order.ChargedBack, 0, order.Unconfirmed}, {minute, order.ChargedBack, 0, order.Applied},
		}},
		"and back over a correction": {order.Standing{Status: order.Canceled}, []answer{
			{0, order.Paid, 0, order.Unconfirmed}, {minute, order.Paid, 0, order.Applied},
			{0, order.Canceled, 0, order.Unconfirmed}, {minute - 1, order.Canceled, 0, order.Unconfirmed}, {1, order.Canceled, 0, order.Applied},
			{0, order.Paid, 0, order.Unconfirmed},
		}},
		"onward after a correction": {order.Standing{Status: order.Canceled}, []answer{
			{0, order.Paid, 0, order.Unconfirmed}, {minute, order.Paid, 0, order.Applied}, {0, order.Refunded, 100, order.Applied},
		}},
		"a correction that begins while another contradiction goes on": {order.Standing{Status: order.Expired}, []answer{
			{0, order.Pending, 0, order.Late}, {minute, order.Pending, 0, order.Insisted}, {15 * minute, order.Pending, 0, order.Insisted},
			{15 * minute, order.Paid, 0, order.Unconfirmed}, {minute, order.Paid, 0, order.Applied},
		}},
		"a broker's clock that was set back begins the run anew": {order.Standing{Status: order.Canceled}, []answer{
			{0, order.Paid, 0, order.Unconfirmed}, {-time.Hour, order.Paid, 0, order.Unconfirmed}, {minute, order.Paid, 0, order.Applied},
		}},
	} {
		s, at := c.from, start
		s.Kind = order.Payment
		for i, a := range c.run {
			at = at.Add(a.after)
			before := s
			var got order.Outcome
			if s, got = s.Fold(sample(order.Payment, a.status, a.sum), at); got != a.outcome {
				t.Errorf("%s: answer %d is %s, want %s", name, i, got, a.outcome)
			}
			if got == order.Applied && s.Corrected() == before.Kind.Reachable(before.Status, s.Status) && a.status != order.Canceled {
				t.Errorf("%s: after answer %d corrected is %t", name, i, s.Corrected())
			}
		}
	}
}

// A webhook that nobody can be asked about may have come late. What contradicts
// the log otherwise is told at once, because no later answer can settle it.
func TestUnconfirmedAnswersNeverCorrect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind        order.Kind
		state, word order.Status
		want        order.Outcome
	}{
		{order.Payout, order.Refused, order.Paid, order.Insisted},
		{order.Payout, order.Expired, order.Paid, order.Insisted},
		{order.Payout, order.Paid, order.Refused, order.Insisted},
		{order.Payout, order.Paid, order.Processing, order.Late},
		{order.Payout, order.Processing, order.Pending, order.Late},
		{order.Payment, order.Disputed, order.Paid, order.Late},
		{order.Payment, order.Canceled, order.Paid, order.Insisted},
	} {
		o := sample(c.kind, c.word, 0)
		o.Confirmed = false
		s, at := order.Standing{Kind: c.kind, Status: c.state}, start
		for range 3 {
			at = at.Add(time.Hour)
			var got order.Outcome
			if s, got = s.Fold(o, at); got != c.want || s.Status != c.state {
				t.Errorf("%s at %s is %s and leaves %s, want %s", c.word, c.state, got, s.Status, c.want)
			}
			if due := s.Again(order.Standard, got, at); !due.IsZero() && c.want == order.Insisted {
				t.Errorf("%s at %s is asked about at %s", c.word, c.state, due)
			}
		}
	}
}

// TestNoAnswerThatTheProviderInsistsOnIsSilent is a provider that changes its
// word as it likes for a while and then keeps to one. It is asked when a webhook
// comes and when the fold wants it. In the end the log says what the provider
// says, or a dead letter told of it, and nobody is asked for ever.
func TestNoAnswerThatTheProviderInsistsOnIsSilent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(order.Kinds()).Draw(t, "kind")
		words := kind.Statuses()
		sums := []int64{0, 0, 1, 10000}
		s, at := order.Standing{}, start
		var insisted bool
		var due time.Time
		fold := func(o order.Observation) {
			var got order.Outcome
			s, got = s.Fold(o, at)
			if got == order.Applied || got == order.Unchanged {
				insisted = false
			}
			insisted = insisted || got == order.Insisted
			due = s.Again(order.Standard, got, at)
			if !due.IsZero() && !due.After(at) {
				t.Fatalf("at %s it is due at %s, %s", at, due, got)
			}
		}
		for range rapid.IntRange(0, 12).Draw(t, "restless") {
			fold(sample(kind, rapid.SampledFrom(words).Draw(t, "word"), rapid.SampledFrom(sums).Draw(t, "sum")))
			pause := rapid.SampledFrom([]time.Duration{time.Second, 20 * time.Second, time.Minute, time.Hour}).Draw(t, "pause")
			if at = at.Add(pause); !due.IsZero() && rapid.Bool().Draw(t, "in time") {
				at = due
			}
		}
		last := sample(kind, rapid.SampledFrom(words).Draw(t, "last"), rapid.SampledFrom(sums).Draw(t, "last sum"))
		fold(last)
		looks := 0
		for ; !due.IsZero(); looks++ {
			if looks > 40 {
				t.Fatalf("it is asked for ever: %+v", s)
			}
			at = due
			fold(last)
		}
		if said := s.Status == last.Status; !said && !insisted {
			t.Fatalf("the provider says %s after %d looks, the log %s, and no letter tells of it", last.Status, looks, s.Status)
		}
	})
}

// A provider whose read replicas disagree never gives two agreeing answers.
func TestAlternatingAnswersEndInALetter(t *testing.T) {
	t.Parallel()
	s, at := order.Standing{Kind: order.Payment, Status: order.Canceled}, start
	for looks := 0; ; looks++ {
		word := []order.Status{order.Paid, order.Authorized}[looks%2]
		var got order.Outcome
		if s, got = s.Fold(sample(order.Payment, word, 0), at); got == order.Insisted {
			if looks < 20 || !s.Told() {
				t.Errorf("told %t after %d looks", s.Told(), looks)
			}
			return
		}
		due := s.Again(order.Standard, got, at)
		if got != order.Unconfirmed || due.IsZero() || looks > 60 {
			t.Fatalf("look %d is %s, next at %s", looks, got, due)
		}
		at = due
	}
}

func TestStaleAnswersAreAskedAgainAfterTwoFifteenAndSixtySeconds(t *testing.T) {
	t.Parallel()
	s, at := order.Standing{Kind: order.Payment, Status: order.Refunded}, start
	var asked []time.Duration
	for {
		var got order.Outcome
		s, got = s.Fold(sample(order.Payment, order.Pending, 0), at)
		due := s.Again(order.Standard, got, at)
		if due.IsZero() {
			if got != order.Insisted {
				t.Errorf("the last look is %s", got)
			}
			break
		}
		asked, at = append(asked, due.Sub(start)), due
	}
	if len(asked) != 3 || asked[0] != 2*time.Second || asked[1] != 15*time.Second || asked[2] != time.Minute {
		t.Errorf("asked after %v", asked)
	}
	// A day later the same answer begins a series, and is told of as before.
	if _, got := s.Fold(sample(order.Payment, order.Pending, 0), at.Add(24*time.Hour)); got != order.Late {
		t.Errorf("a day later it is %s", got)
	}
}

// TestLogThatEverSaidPaidKeepsIt has a payment corrected to before it was paid. The
// event of the correction does not say so, and the next worker is told.
func TestLogThatEverSaidPaidKeepsIt(t *testing.T) {
	t.Parallel()
	paid := order.Paid
	canceled := order.Canceled
	for name, c := range map[string]struct {
		event order.Event
		want  bool
	}{
		"paid":                       {order.Event{Kind: order.Payment, Status: order.Paid}, true},
		"canceled after it was paid": {order.Event{Kind: order.Payment, Status: order.Canceled, From: &paid}, true},
		"corrected to authorized":    {order.Event{Kind: order.Payment, Status: order.Authorized, From: &canceled, Correction: true}, false},
	} {
		s := order.StandingOf(&c.event)
		if s.EverPaid() != c.want || !s.Paid().EverPaid() {
			t.Errorf("%s: %t, told %t", name, s.EverPaid(), s.Paid().EverPaid())
		}
	}
}
