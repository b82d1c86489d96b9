package order

import "time"

// ReturnGap is how far apart, by the broker's timestamps, two agreeing
// observations of a return edge must lie before it is believed.
const ReturnGap = 500 * time.Millisecond

// Outcome is what an observation meant for the payment's log.
type Outcome string

// The outcomes. Unconfirmed is the lone observation of a return edge: it
// waits for a second one that agrees.
const (
	Applied     Outcome = "applied"
	Unchanged   Outcome = "unchanged"
	Late        Outcome = "late"
	Illegal     Outcome = "illegal"
	UnknownWord Outcome = "unknown_word"
	Unconfirmed Outcome = "unconfirmed"
)

// Outcomes lists every outcome, in the order of their declaration.
func Outcomes() []Outcome {
	return []Outcome{Applied, Unchanged, Late, Illegal, UnknownWord, Unconfirmed}
}

// Standing is where a payment stands while its observations are folded. The
// zero value is a payment of which nothing is known yet.
type Standing struct {
	Kind     Kind
	Status   Status // "" before the first event.
	Refunded int64  // Minor units.

	currency string // "" while no amount is known.
	value    int64  // Minor units, before refunds.

	back      Status // Return edge seen but not yet confirmed, "" for none.
	backSum   int64
	backSince time.Time
}

// StandingOf is the standing that a payment's last event leaves behind.
func StandingOf(e *Event) Standing {
	if e == nil {
		return Standing{}
	}
	s := Standing{Kind: e.Kind, Status: e.Status}
	if e.Amount != nil {
		s.Refunded, s.currency, s.value = e.Amount.Refunded, e.Amount.Currency, e.Amount.Value
	}
	return s
}

// Fold says what o means for a payment that stands at s, and where it stands
// afterwards. Only Applied changes status or refunded sum. The timestamp is
// the broker's for o. Fold is a pure function of the log, so every worker
// that folds the same observations comes to the same events.
func (s Standing) Fold(o Observation, at time.Time) (Standing, Outcome) {
	lone := s.forget()
	if o.Status == "" {
		return lone, UnknownWord
	}
	if !o.Kind.Knows(o.Status) || (s.Status != "" && o.Kind != s.Kind) || s.OtherMoney(o) {
		return lone, Illegal
	}
	sum := s.sumAfter(o)
	switch {
	case s.Status == "":
		first := lone.moved(o, o.refunded())
		first.Kind = o.Kind
		return first, Applied
	case o.Status == s.Status && sum > s.Refunded:
		return lone.moved(o, sum), Applied
	case o.Status == s.Status && sum == s.Refunded:
		return lone, Unchanged
	case o.Status == s.Status:
		return lone, Late
	case s.Kind.Reachable(s.Status, o.Status):
		// The word moves on, so the sample is newer than ours even when it
		// repeats a smaller sum; what was given back stays given back.
		return lone.moved(o, max(sum, s.Refunded)), Applied
	case s.Kind.Returns(s.Status, o.Status) && sum >= s.Refunded:
		return s.foldReturn(o, sum, at)
	case sum <= s.Refunded && (s.Kind.Reachable(o.Status, s.Status) || s.Kind.Returns(s.Status, o.Status)):
		return lone, Late
	default:
		// An earlier word with a larger sum is one too: sums only grow, so that answer
		// is no older than ours, and a refund must not pass in silence.
		return lone, Illegal
	}
}

// foldReturn believes a return edge once two agreeing observations in a row
// lie far enough apart.
func (s Standing) foldReturn(o Observation, sum int64, at time.Time) (Standing, Outcome) {
	if s.back != o.Status || s.backSum != sum {
		s.back, s.backSum, s.backSince = o.Status, sum, at
		return s, Unconfirmed
	}
	if at.Sub(s.backSince) < ReturnGap {
		return s, Unconfirmed
	}
	return s.moved(o, sum), Applied
}

// sumAfter is the refunded sum that o reports. An answer without an amount
// says nothing about refunds, so ours stands, unless its word says that the
// whole was refunded.
func (s Standing) sumAfter(o Observation) int64 {
	switch {
	case o.Amount != nil:
		return o.Amount.Refunded
	case o.Status == Refunded:
		return max(s.Refunded, s.value)
	}
	return s.Refunded
}

// OtherMoney reports whether o is about another sum than the payment's own:
// the amount before refunds, or its currency, never changes. An answer without
// an amount contradicts nothing. There is no such check of the account: no
// provider's look-up answer names the merchant, and what a webhook says of it
// is a hint.
func (s Standing) OtherMoney(o Observation) bool {
	return s.currency != "" && o.Amount != nil && (o.Amount.Currency != s.currency || o.Amount.Value != s.value)
}

// moved is where the payment stands after o was applied. An amount becomes
// the payment's own only with an event, because the event is what the next
// worker starts from.
func (s Standing) moved(o Observation, sum int64) Standing {
	s = s.forget()
	s.Status, s.Refunded = o.Status, sum
	if o.Amount != nil {
		s.currency, s.value = o.Amount.Currency, o.Amount.Value
	}
	return s
}

// forget drops what is known of a return edge that was not confirmed.
func (s Standing) forget() Standing {
	s.back, s.backSum, s.backSince = "", 0, time.Time{}
	return s
}
