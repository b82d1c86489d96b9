package subject

import (
	"strings"

	"arauto/schemas/order"
)

// The streams, which deploy/runtime/topology declares.
const (
	Notifications = "NOTIFICATIONS"
	LookupRetries = "LOOKUP_RETRIES"
	Statuses      = "STATUSES"
	Orders        = "ORDERS"
	OrderPayments = "ORDER_PAYMENTS"
	DeadLetters   = "DEAD_LETTERS"
	Audit         = "AUDIT"
	Advisories    = "ADVISORIES"
	Circuits      = "CIRCUITS"
	Leases        = "LEASES"
	Expectations  = "EXPECTATIONS"
	Outcomes      = "OUTCOMES"
	Forgotten     = "FORGOTTEN"
)

// Unit names one payment on the wire: provider and account as configured, and
// the payment as a subject token.
type Unit struct{ Provider, Account, Payment string }

// Unit makes the unit of a payment whose id comes from outside.
func (t Tokens) Unit(provider, account, payment string) Unit {
	return Unit{Provider: provider, Account: account, Payment: t.Token(payment)}
}

// Named returns the unit of another payment of the same account.
func (u Unit) Named(t Tokens, payment string) Unit { return t.Unit(u.Provider, u.Account, payment) }

func (u Unit) String() string { return u.Provider + "." + u.Account + "." + u.Payment }

// Notification is where the unit's notifications are stored.
func (u Unit) Notification() string { return "notifications." + u.String() }

// Status is where the unit's observations are stored.
func (u Unit) Status() string { return "statuses." + u.String() }

// Events is the filter of the unit's order events. Compare-and-append uses it, so every
// writer must use exactly this one.
func (u Unit) Events() string { return "orders." + u.String() + ".>" }

// Event is where the event that moves the unit to status is published; order
// is a subject token.
func (u Unit) Event(order string, status order.Status) string {
	return "orders." + u.String() + "." + order + "." + string(status)
}

// OfOrder is where the unit is noted as a payment of an order, which is a subject token.
func (u Unit) OfOrder(order string) string { return "order-payments." + order + "." + u.String() }

// DeadLetter is where a dead letter about the unit is stored.
func (u Unit) DeadLetter(class, stage string) string {
	return "dead." + class + "." + stage + "." + u.String()
}

// Expected is where it is announced that the unit is expected.
func (u Unit) Expected() string { return "expect." + u.String() }

// Outcomes is the filter of what came of the unit's expectations. Compare-and-append uses
// it, so every writer must use exactly this one.
func (u Unit) Outcomes() string { return "expectations." + u.String() + ".>" }

// Outcome is where one outcome of the unit's expectations is published.
func (u Unit) Outcome(word string) string { return "expectations." + u.String() + "." + word }

// Waiting is a unit on LOOKUP_RETRIES. The payment is always a hash there, because
// the broker keeps schedule subjects in plain text on disk.
type Waiting struct{ Provider, Account, Hash string }

// Waiting makes the Waiting of a payment whose id comes from outside.
func (t Tokens) Waiting(provider, account, payment string) Waiting {
	return Waiting{Provider: provider, Account: account, Hash: t.Hash(payment)}
}

// Parked is the subject of the unit's one message schedule.
func (w Waiting) Parked() string {
	return "lookup.parked." + w.Provider + "." + w.Account + "." + w.Hash
}

// Due is the subject on which the broker stores the look-up once it is due.
func (w Waiting) Due() string { return "lookup.due." + w.Provider + "." + w.Account + "." + w.Hash }

// Forgotten is where the record of the unit is kept once it was erased.
func (w Waiting) Forgotten() string {
	return "forgotten." + w.Provider + "." + w.Account + "." + w.Hash
}

// Any matches every token in a filter.
const Any = "*"

// Filters of whole families of subjects.
const (
	AllNotifications = "notifications.>"
	AllStatuses      = "statuses.>"
	AllEvents        = "orders.>"
	AllScheduled     = "lookup.parked.>"
	AllDue           = "lookup.due.>"
	AllDeadLetters   = "dead.>"
	AllCircuits      = "circuits.>"
	AllAudit         = "audit.>"
	// AllCircuitChanges is where the broker repeats what is stored on AllCircuits.
	AllCircuitChanges = "circuits-changed.>"
	AllLeases         = "leases.>"
	// AllLeaseChanges is where the broker repeats what is stored on AllLeases.
	AllLeaseChanges = "leases-changed.>"
	AllExpected     = "expect.>"
	AllOutcomes     = "expectations.>"
)

// Filter makes the unit of a filter: every payment of a provider and an account,
// "" for any provider or account.
func Filter(provider, account string) Unit {
	return Unit{Provider: orAny(provider), Account: orAny(account), Payment: Any}
}

// FilterWaiting is Filter for scheduled and due look-ups.
func FilterWaiting(provider, account string) Waiting {
	return Waiting{Provider: orAny(provider), Account: orAny(account), Hash: Any}
}

func orAny(token string) string {
	if token == "" {
		return Any
	}
	return token
}

// NotificationsOf is the filter of a provider's notifications.
func NotificationsOf(provider string) string { return "notifications." + provider + ".>" }

// DueOf is the filter of a provider's due look-ups.
func DueOf(provider string) string { return "lookup.due." + provider + ".>" }

// AuditEntry is where an operator's action of that verb is recorded.
func AuditEntry(verb string) string { return "audit." + verb }

// Circuit is where the record of an account's circuit is kept, or that of a host.
func Circuit(provider, account string) string { return "circuits." + circuit(provider, account) }

// CircuitChanged is where the broker repeats a record after it is stored. A message on
// Circuit itself may still be refused.
func CircuitChanged(provider, account string) string {
	return "circuits-changed." + circuit(provider, account)
}

// Resumption is where the record of an account's resumption is kept.
func Resumption(provider, account string) string { return "resumptions." + circuit(provider, account) }

// circuit encodes the account, because that of a host has characters which no token has.
func circuit(provider, account string) string {
	if account == Any {
		return provider + "." + Any
	}
	return provider + "." + encode(account)
}

// Lease is where a look-up worker keeps its lease, under a name that it has made up.
func Lease(name string) string { return "leases." + name }

// LeaseChanged is where the broker repeats a lease after it is stored.
func LeaseChanged(name string) string { return "leases-changed." + name }

// LookupConsumer is the durable consumer of a provider's notifications.
func LookupConsumer(provider string) string { return "lookup-" + provider }

// LookupDueConsumer is the durable consumer of a provider's due look-ups.
func LookupDueConsumer(provider string) string { return "lookup-due-" + provider }

// ParseLookupConsumer reads the provider off the name of a consumer that
// LookupConsumer or LookupDueConsumer names. ok is false for any other name.
func ParseLookupConsumer(name string) (provider string, ok bool) {
	for _, prefix := range []string{LookupDueConsumer(""), LookupConsumer("")} {
		if provider, ok = strings.CutPrefix(name, prefix); ok {
			return provider, provider != ""
		}
	}
	return "", false
}

// NormalizeConsumer is the durable consumer of every observation.
const NormalizeConsumer = "normalize"

// ExpectConsumer is the durable consumer by which expectations are judged once an event is
// published.
const ExpectConsumer = "expect"

// AdvisoriesConsumer is the durable consumer of what the broker gave up.
const AdvisoriesConsumer = "sweep-advisories"
