package record

import (
	"strings"
	"time"
)

// CircuitState says whether the look-ups of a circuit breaker's scope run.
type CircuitState string

// The states.
const (
	CircuitClosed   CircuitState = "closed"    // Look-ups run.
	CircuitOpen     CircuitState = "open"      // None runs, until a probe is due.
	CircuitHalfOpen CircuitState = "half_open" // One probe is under way.
)

// Circuit is whether the look-ups of one account, or at one upstream host, are stopped,
// as stored on CIRCUITS. There is one record per scope, the last one counts, and a scope
// without one is closed. Its times count from when the broker stored it, so that no
// worker's clock decides for the others.
type Circuit struct {
	Provider string        `json:"provider"`
	Account  string        `json:"account"` // Or HostScope of a host.
	State    CircuitState  `json:"state"`
	Since    time.Time     `json:"since,omitzero"`    // When it was opened, or closed again. Zero in a stored record: when that was stored.
	Wait     time.Duration `json:"wait_ns,omitempty"` // From the record's storing until one look-up may probe. Half open: until another may. None may while the cause is an operator.
	Probes   int           `json:"probes,omitempty"`  // Probes since it was opened.
	Failed   []string      `json:"failed,omitempty"`  // Of a host: the accounts whose probe has failed, while others may probe at once.
	Cause    string        `json:"cause"`             // Why it is in this state, in a word.
	By       string        `json:"by"`                // The worker or operator that brought it there.
}

// Resumption is how far the look-ups that waited for an account's circuit breakers have been
// brought forward since these closed. There is one record per account on CIRCUITS; the last
// one counts.
type Resumption struct {
	Closed  uint64 `json:"closed"`         // The sequence on CIRCUITS of the record by which the last of them closed.
	Through uint64 `json:"through"`        // On LOOKUP_RETRIES, up to which every look-up was brought forward.
	Done    bool   `json:"done,omitempty"` // None is left.
	By      string `json:"by"`             // The worker that does it. Another one may go on once the record is old.
}

// hostScope begins the scope of a host. No account's name has a colon.
const hostScope = "host:"

// longestHost is how many bytes of a host are kept: encoded, with a dot for every second
// byte, they fill a subject token.
const longestHost = 60

// HostScope is what the record of an upstream host has as its account.
func HostScope(host string) string { return hostScope + host[max(len(host)-longestHost, 0):] }

// OfHost reports whether the record is that of an upstream host.
func (c Circuit) OfHost() bool { return strings.HasPrefix(c.Account, hostScope) }
