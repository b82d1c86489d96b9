package order

// agree returns o with its amount read as the log's, and whether it is about the
// payment's own money: the currency never changes, and the value changes once,
// downwards, at the capture, which the same answer must show by still naming the
// published value as its authorized sum. Once the log has said paid or later the
// value is fixed. There is no such check of the account: no provider's look-up
// answer names the merchant, and what a webhook says of it is a hint.
func (s Standing) agree(o Observation) (Observation, bool) {
	o = s.voided(o)
	a := o.Amount
	if s.currency == "" || a == nil {
		return o, true
	}
	switch {
	case a.Currency != s.currency:
		return o, false
	case a.Value == s.value:
		return o, true
	case !s.captured:
		return o, a.Value < s.value && a.Authorized == s.value
	case a.Value+a.Refunded == s.value:
		// The captured sum is net of refunds: PicPay does not say whether its is.
		o.Status = refundedStatus(o.Status, s.value, a.Refunded)
	case a.Value != a.Authorized || a.Authorized != s.authorized:
		return o, false
	}
	// Here the answer named the captured sum net of refunds, or none at all.
	own := *a
	own.Value = s.value
	o.Amount = &own
	return o, true
}

// refundedStatus is what became of a payment of value of which refunded was
// given back: a refund is whole when it reaches what was captured.
func refundedStatus(status Status, value, refunded int64) Status {
	switch {
	case status != Paid && status != Settled && status != PartiallyRefunded && status != Refunded, refunded == 0:
		return status
	case refunded < value:
		return PartiallyRefunded
	}
	return Refunded
}

// voided reads a refund of a payment of which the provider says that nothing was
// captured: that is a cancellation while the log has never said paid, else the
// whole was refunded.
func (s Standing) voided(o Observation) Observation {
	if !o.Void() {
		return o
	}
	if !s.captured {
		o.Status = Canceled
		return o
	}
	whole := *o.Amount
	whole.Refunded = s.value
	o.Amount = &whole
	return o
}

// OtherMoney reports whether o is about another sum or currency than the
// payment's own. An answer without an amount contradicts nothing.
func (s Standing) OtherMoney(o Observation) bool {
	_, same := s.agree(o)
	return !same
}

// sumAfter is the refunded sum after o. An answer without an amount says nothing
// about refunds, so ours stands, unless its word says that the whole was
// refunded. Over forward edges a smaller sum is a stale one.
func (s Standing) sumAfter(o Observation) int64 {
	sum := s.Refunded
	switch {
	case o.Amount != nil:
		sum = o.Amount.Refunded
	case o.Status == Refunded:
		sum = max(s.Refunded, s.value)
	}
	if o.Status != s.Status && (s.Kind.Reachable(s.Status, o.Status) || o.Status == Disputed || o.Status == ChargedBack) {
		return max(sum, s.Refunded)
	}
	return sum
}
