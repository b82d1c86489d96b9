package api

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// slowness is how long a slow answer takes when the fault does not say.
const slowness = 200 * time.Millisecond

// longest bounds retry_after, in seconds, so that it fits a duration.
const longest = 7 * 24 * 60 * 60

// fault is what goes wrong with a provider's look-ups.
type fault struct {
	Kind       string  `json:"kind"`
	Count      int     `json:"count"`       // How many look-ups it hits; 0 hits all of them until it is changed.
	RetryAfter float64 `json:"retry_after"` // Seconds; what 429 says and slow waits.
	Account    string  `json:"account"`     // "" is every account.
	Payment    string  `json:"payment"`     // "" is every payment.
}

// check says what is wrong with a fault from a control call.
func (f fault) check() error {
	if !slices.ContainsFunc(described.Faults, func(k kindOfFault) bool { return k.Kind == f.Kind }) {
		return fmt.Errorf("unknown kind of fault %q", f.Kind)
	}
	switch {
	case f.Count < 0:
		return errors.New("count is negative")
	case !(f.RetryAfter >= 0 && f.RetryAfter <= longest):
		return fmt.Errorf("retry_after is not between 0 and %d seconds", longest)
	case f.Account != "" && !slices.Contains(accounts, f.Account):
		return errors.New("unknown account")
	}
	return nil
}

// wait is how long a slow answer takes.
func (f fault) wait() time.Duration {
	if f.RetryAfter == 0 {
		return slowness
	}
	return time.Duration(f.RetryAfter * float64(time.Second))
}

// retryAfter is the value of the Retry-After header: whole seconds, since
// HTTP has no others, and at least one.
func (f fault) retryAfter() string {
	return strconv.Itoa(max(1, int(math.Ceil(f.RetryAfter))))
}

// aim is what a fault hits. "" is every account, or every payment.
type aim struct{ account, payment string }

// faults holds the faults in force per provider.
type faults struct {
	mu    sync.Mutex
	force map[string]map[aim]*fault
}

// set puts a fault in force. One for every account and payment ends all others.
func (f *faults) set(provider string, next fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := aim{next.Account, next.Payment}
	if at == (aim{}) || f.force[provider] == nil {
		f.force[provider] = map[aim]*fault{}
	}
	f.force[provider][at] = &next
}

// take returns the fault that hits this look-up, the one with the closest aim,
// and spends one of its count.
func (f *faults) take(provider, account, payment string) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range []aim{{account, payment}, {"", payment}, {account, ""}, {}} {
		hit, ok := f.force[provider][at]
		if !ok {
			continue
		}
		if hit.Count == 1 {
			delete(f.force[provider], at)
			return *hit
		}
		if hit.Count > 0 {
			hit.Count--
		}
		return *hit
	}
	return fault{Kind: "none"}
}

// reset ends the connection so that the client sees "connection reset by
// peer": without lingering, closing a socket sends RST in place of FIN.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // The nearest thing: the answer ends without a status.
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// pause waits for d. It reports false when the client went away or the
// simulator stops before that.
func (s *Simulator) pause(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
	case <-s.stopped.Done():
	}
	return false
}
