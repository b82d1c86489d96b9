// Package order is the language of what Arauto publishes: the statuses a
// payment can have, the declared graph between them, what one observation of
// a payment is, and the event that announces a transition. It is pure: no
// input or output, no clock, no randomness.
package order

import "slices"

// Status is our word for where a payment stands. The words are wire format:
// they appear in subjects and events and never change meaning.
type Status string

// The statuses of money in and money out.
const (
	Pending           Status = "pending"
	Processing        Status = "processing"
	InAnalysis        Status = "in_analysis"
	Authorized        Status = "authorized"
	Paid              Status = "paid"
	Settled           Status = "settled"
	PartiallyRefunded Status = "partially_refunded"
	Refunded          Status = "refunded"
	Disputed          Status = "disputed"
	ChargedBack       Status = "charged_back"
	Expired           Status = "expired"
	Canceled          Status = "canceled"
	Refused           Status = "refused"
	Failed            Status = "failed"
)

// The statuses of a cardholder authentication, beside Pending.
const (
	Authenticated    Status = "authenticated"
	NotAuthenticated Status = "not_authenticated"
)

// Kind is what a unit of observation is about. Each kind has a graph of its
// own, and a payment never changes its kind.
type Kind string

// The kinds. A payment is money in, a payout is money out, an authentication
// is the result of a 3DS challenge and moves no money.
const (
	Payment        Kind = "payment"
	Payout         Kind = "payout"
	Authentication Kind = "authentication"
)

// Kinds lists every kind, in the order of their declaration.
func Kinds() []Kind { return []Kind{Payment, Payout, Authentication} }

// Statuses lists every status that k knows, sorted. It is empty for an
// unknown kind.
func (k Kind) Statuses() []Status { return slices.Clone(known[k]) }

// known are the statuses that each kind's graph names, sorted, computed once.
var known = named(forward)

func named(edges map[Kind]map[Status][]Status) map[Kind][]Status {
	all := make(map[Kind][]Status, len(edges))
	for kind, graph := range edges {
		var names []Status
		for from, tos := range graph {
			names = append(append(names, from), tos...)
		}
		slices.Sort(names)
		all[kind] = slices.Compact(names)
	}
	return all
}

// Knows reports whether s is a status that a unit of kind k can have.
func (k Kind) Knows(s Status) bool { return slices.Contains(known[k], s) }

// Final reports whether s has no way out for kind k other than a return edge.
func (k Kind) Final(s Status) bool { return k.Knows(s) && len(forward[k][s]) == 0 }

// Reachable reports whether to can follow from over one or more forward
// edges. An observation is a sample, so whatever lay between may have been
// missed. A status is not reachable from itself.
func (k Kind) Reachable(from, to Status) bool { return closure[k][from][to] }

// Returns reports whether from to to is a declared return edge: legal only
// directly, and only once two agreeing observations confirm it, because a
// provider's read replica may be stale.
func (k Kind) Returns(from, to Status) bool { return slices.Contains(returns[k][from], to) }

// Corrects reports whether from to to is a declared correction: it contradicts
// what was published as final, so it needs a longer run of agreeing answers
// than a return edge (see Spans), and its event says so.
func (k Kind) Corrects(from, to Status) bool { return slices.Contains(corrections[k][from], to) }

// forward, returns and corrections are the status graph. forward holds the forward
// edges of each kind; a status without an entry of its own is final.
var forward = map[Kind]map[Status][]Status{
	Payment: {
		Pending:           {Processing, InAnalysis, Authorized, Paid, Expired, Canceled, Refused, Failed},
		Processing:        {InAnalysis, Authorized, Paid, Expired, Canceled, Refused, Failed},
		InAnalysis:        {Authorized, Paid, Expired, Refused, Canceled, Failed, Refunded},
		Authorized:        {Paid, Canceled, Expired, Failed},
		Paid:              {Settled, PartiallyRefunded, Refunded, Disputed, ChargedBack, Canceled},
		Settled:           {PartiallyRefunded, Refunded, Disputed, ChargedBack},
		PartiallyRefunded: {Refunded, Disputed, ChargedBack},
		Disputed:          {Refunded, ChargedBack, Canceled},
	},
	// Money that has left does not come back by itself: paid is final.
	Payout: {
		Pending:    {Processing, InAnalysis, Authorized, Paid, Expired, Canceled, Refused, Failed},
		Processing: {InAnalysis, Authorized, Paid, Expired, Canceled, Refused, Failed},
		InAnalysis: {Authorized, Paid, Expired, Refused, Canceled, Failed},
		Authorized: {Paid, Canceled, Expired, Failed},
	},
	Authentication: {
		Pending: {Authenticated, NotAuthenticated},
	},
}

// returns holds the return edges. They do not count for reachability.
var returns = map[Kind]map[Status][]Status{
	Payment: {
		Disputed:    {Paid, Settled, PartiallyRefunded},
		Processing:  {Pending},
		ChargedBack: {Paid, Settled, PartiallyRefunded},
	},
	Payout: {
		Processing: {Pending},
	},
}

// corrections holds the edges that contradict a final status: money that is in
// although the payment was given up, and refunds and chargebacks that ended
// otherwise. Of partially_refunded only an answer with a smaller refunded sum is
// a correction. They do not count for reachability.
var corrections = map[Kind]map[Status][]Status{
	Payment: {
		Canceled:          moneyIn,
		Expired:           moneyIn,
		Refused:           moneyIn,
		Failed:            moneyIn,
		Refunded:          {Disputed, ChargedBack, Paid, PartiallyRefunded},
		ChargedBack:       {Disputed, Refunded},
		PartiallyRefunded: {Paid, Settled},
	},
	Payout: {
		Canceled: {Authorized, Paid},
		Expired:  {Authorized, Paid},
		Refused:  {Authorized, Paid},
		Failed:   {Authorized, Paid},
	},
}

// moneyIn are the statuses that say that the payer's money is or was there.
var moneyIn = []Status{Authorized, Paid, Settled, PartiallyRefunded, Refunded, Disputed, ChargedBack}

// captured reports whether s says that a sum was captured.
func captured(s Status) bool { return s != Authorized && slices.Contains(moneyIn, s) }

// closure is the transitive closure of forward, computed once.
var closure = reach(forward)

func reach(edges map[Kind]map[Status][]Status) map[Kind]map[Status]map[Status]bool {
	all := make(map[Kind]map[Status]map[Status]bool, len(edges))
	for kind, graph := range edges {
		all[kind] = make(map[Status]map[Status]bool, len(graph))
		for from := range graph {
			seen := map[Status]bool{}
			todo := slices.Clone(graph[from])
			for len(todo) > 0 {
				next := todo[0]
				todo = todo[1:]
				if !seen[next] {
					seen[next] = true
					todo = append(todo, graph[next]...)
				}
			}
			all[kind][from] = seen
		}
	}
	return all
}
