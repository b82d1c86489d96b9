package lookup

import (
	"maps"
	"slices"
	"sync"
	"time"

	"arauto/schemas/provider"
	"arauto/workers/internal/ratelimit"
)

// Setup is what is configured of a provider and may change while its worker runs. It is
// never changed: Replace replaces it.
type Setup struct {
	Accounts map[string]provider.Account // By name.
	Policy   provider.RetryPolicy
	Rates    map[string]*ratelimit.Limiter // Rate limits by account.

	answers map[string]*answers // By account: the recent answers about known and unknown payments.
	checks  map[string]*check   // By account.
}

// check is held while the control payment of an account is asked for because another payment was
// refused.
type check struct {
	sync.Mutex

	at       time.Time // When a refusal in foreign words was last checked.
	answered bool      // What that found.
}

// setup is the Setup in use.
func (w *Worker) setup() *Setup { return w.current.Load() }

// Replace makes the worker use another Setup, from the next look-up on. A look-up under way
// ends with the one before, but see ask. Of an account that stays, what its answers said is
// kept. What is stored of an account that is removed stays too: its look-ups fail as those of an
// unknown account, are repeated, and are dead-lettered in the end. Call it from one
// goroutine at a time.
func (w *Worker) Replace(s Setup) {
	s.answers, s.checks = map[string]*answers{}, map[string]*check{}
	before := w.setup()
	for account := range s.Accounts {
		s.answers[account], s.checks[account] = &answers{}, &check{}
		if before != nil && before.answers[account] != nil {
			s.answers[account], s.checks[account] = before.answers[account], before.checks[account]
		}
	}
	w.Metrics.expect(w.Provider.Name, slices.Collect(maps.Keys(s.Accounts)))
	w.current.Store(&s)
}
