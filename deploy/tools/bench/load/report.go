// Package load sends notifications as fast, or as evenly, as it is told and
// counts what came of them. It is made to be cheap: it shares the machine
// with what it measures, and every cycle that it takes is one less for that.
package load

import (
	"time"

	"arauto/deploy/tools/bench/latency"
)

// Report is what one run found. Times are in nanoseconds in JSON.
type Report struct {
	// Window is how long was counted, after the warm-up.
	Window time.Duration `json:"window"`
	// Accepted are the requests of the window that were answered 200 and Ok: in
	// a closed loop those answered in it, timed from their sending; in an open
	// loop those due in it, timed from when they were due.
	Accepted latency.Summary `json:"accepted"`
	// Service are the same, timed from when they were really sent.
	Service latency.Summary `json:"service"`
	// Refused are those that were answered with another status, from sent.
	Refused latency.Summary `json:"refused"`
	// Statuses counts the answers that were not 200, warm-up included.
	Statuses map[int]uint64 `json:"statuses,omitempty"`
	// Errors counts the requests without a usable answer by what was wrong,
	// warm-up included.
	Errors map[string]uint64 `json:"errors,omitempty"`
	// Late counts the requests of an open loop that were never sent, because
	// no connection was free for so long that they were given up.
	Late uint64 `json:"late,omitempty"`
	// Everything counts every 200, warm-up included.
	Everything uint64 `json:"everything"`
	// CPU is what this process used in the window, user and system.
	CPU time.Duration `json:"cpu"`
}

// Rate is how many requests per second were accepted.
func (r Report) Rate() float64 {
	if r.Window <= 0 {
		return 0
	}
	return float64(r.Accepted.Count) / r.Window.Seconds()
}

// Bad is how many requests were not accepted, whatever the reason.
func (r Report) Bad() uint64 {
	bad := r.Late
	for _, n := range r.Statuses {
		bad += n
	}
	for _, n := range r.Errors {
		bad += n
	}
	return bad
}
