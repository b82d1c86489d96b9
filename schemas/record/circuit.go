package record

import "time"

// CircuitState says whether an account's look-ups run.
type CircuitState string

// The states.
const (
	CircuitClosed   CircuitState = "closed"    // Look-ups run.
	CircuitOpen     CircuitState = "open"      // None runs, until a probe is due.
	CircuitHalfOpen CircuitState = "half_open" // One probe is under way.
)

// Circuit is whether the look-ups of one account are stopped, as stored on
// CIRCUITS. There is one record per account, the last one counts, and an
// account without one is closed.
type Circuit struct {
	Provider  string       `json:"provider"`
	Account   string       `json:"account"`
	State     CircuitState `json:"state"`
	Since     time.Time    `json:"since"`                // When it was opened, or closed again.
	NextProbe *time.Time   `json:"next_probe,omitempty"` // From when one look-up may try. Half open: when its claim ends. nil: only an operator closes it.
	Probes    int          `json:"probes,omitempty"`     // Tries since it was opened.
	Cause     string       `json:"cause"`                // Why it is in this state, in a word.
	By        string       `json:"by"`                   // Who brought it there.
}
