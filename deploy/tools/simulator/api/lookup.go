package api

import (
	"net/http"
	"strconv"
	"sync"
)

// provide answers a request under a provider's prefix.
func (s *Simulator) provide(w http.ResponseWriter, r *http.Request, path []string) {
	d, ok := dialectOf(path[0])
	if !ok {
		problem(w, http.StatusNotFound, "unknown provider or path")
		return
	}
	if status, body, ok := d.login(r, path[1:], s.now()); ok {
		reply(w, status, body)
		return
	}
	q, ok := d.question(r, path[1:], s.now())
	if !ok {
		reply(w, http.StatusNotFound, d.Refusal(http.StatusNotFound))
		return
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		reply(w, http.StatusMethodNotAllowed, d.Refusal(http.StatusMethodNotAllowed))
		return
	}
	s.asked.add(path[0], q.account, q.id)
	result := "aborted" // What remains of an answer that panics because nobody is there to get it.
	defer func() { s.metrics.lookups.WithLabelValues(path[0], result).Inc() }()
	if q.account == "" {
		result = "unauthorized"
		reply(w, http.StatusUnauthorized, d.Refusal(http.StatusUnauthorized))
		return
	}
	result = s.lookUp(w, r, d, path[0], q)
}

// lookUp answers a look-up that carries a good credential, as the fault in
// force wants it, and says in a word what became of it.
func (s *Simulator) lookUp(w http.ResponseWriter, r *http.Request, d dialect, provider string, q question) string {
	k := key{provider, q.account, q.unit.Name, q.id}
	f := s.faults.take(provider, q.account, q.id)
	switch f.Kind {
	case "500", "401", "404", "429":
		status, _ := strconv.Atoi(f.Kind)
		if f.Kind == "429" {
			w.Header().Set("Retry-After", f.retryAfter())
		}
		reply(w, status, d.Refusal(status))
		return "fault_" + f.Kind
	case "403": // What a firewall before the provider says: a page, not the provider's own error.
		page(w, http.StatusForbidden, "Request blocked.")
		return "fault_403"
	case "reset":
		reset(w)
		return "fault_reset"
	case "garbage":
		page(w, http.StatusOK, "We will be back soon.")
		return "fault_garbage"
	case "slow":
		if !s.pause(r, f.wait()) {
			panic(http.ErrAbortHandler) // Nobody is there to be answered.
		}
	}
	e, ok := s.ledger.get(k)
	p := e.Now
	if ok && f.Kind == "stale" {
		p, ok = e.stale()
	}
	if !ok || s.now().Before(p.Known) {
		reply(w, q.unit.Missing, d.Refusal(q.unit.Missing))
		return "not_found"
	}
	reply(w, http.StatusOK, q.unit.Answer(named(k, p)))
	return "answered"
}

// named is a payment with what its key says.
func named(k key, p payment) payment {
	p.Account, p.Unit, p.ID = k.Account, k.Unit, k.ID
	return p
}

// page answers as something before the provider does that knows nothing of its
// API.
func page(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte("<html><body>" + text + "</body></html>\n")) // The caller has gone if it fails.
}

// tally counts how often each payment was asked for, by provider, account and
// id. Look-ups with nobody's credential count under account "".
type tally struct {
	mu    sync.Mutex
	asked map[[3]string]int
}

func (t *tally) add(provider, account, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked[[3]string{provider, account, id}]++
}

// of returns the counts of one provider by id, of one account or, with "",
// summed over all.
func (t *tally) of(provider, account string) map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	sums := map[string]int{}
	for who, n := range t.asked {
		if who[0] == provider && (account == "" || who[1] == account) {
			sums[who[2]] += n
		}
	}
	return sums
}
