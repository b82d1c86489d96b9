package record

// Failure is the kind of a failed look-up. It is a metric label and a word in
// scheduled retries, dead letters and the operator's output.
type Failure string

// The kinds of failure.
const (
	Transport   Failure = "transport"   // No answer: connection, TLS, timeout.
	Unavailable Failure = "unavailable" // 5xx and the like.
	Unreadable  Failure = "unreadable"  // An answer that cannot be used.
	Refused     Failure = "refused"     // Another 4xx.
	Throttled   Failure = "throttled"   // 429.
	Credential  Failure = "credential"  // 401, 403.
	NotFound    Failure = "not_found"   // The provider does not know the payment.
	Ours        Failure = "ours"        // The provider could not be asked: no such account, a bad URL.
	RateLimited Failure = "rate_limit"  // Not asked: the account's rate limit for look-ups is used up.
	Stopped     Failure = "circuit"     // Not asked: the account's circuit breaker is open.
)

// Failures lists every kind, in the order of their declaration.
func Failures() []Failure {
	return []Failure{Transport, Unavailable, Unreadable, Refused, Throttled, Credential, NotFound, Ours, RateLimited, Stopped}
}
