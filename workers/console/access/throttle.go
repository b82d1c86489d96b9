package access

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	// loginBurst is how many log-ins an address or a name may try at once, and loginPause how
	// long it takes for one more: 2,880 passwords of a name in a day, however many addresses
	// try. Guesses.
	loginBurst = 10
	loginPause = 30 * time.Second
	// buckets bounds the memory of each kind of limit. Two names that share one share its
	// limit.
	buckets = 4096
	// mostPlaces is how many pairs of an address and a name are remembered for a log-in.
	mostPlaces = 1024
)

// throttle limits how often log-ins are tried, by address and by name. Where a person has
// logged in before has a limit of its own: strangers who try the name from elsewhere cannot
// lock the person out.
type throttle struct {
	mu        sync.Mutex
	seed      maphash.Seed
	addresses [buckets]*rate.Limiter
	unknown   [buckets]*rate.Limiter // By names that are not known.
	known     map[string]*rate.Limiter
	places    *lru.Cache[place, *rate.Limiter]
}

// place is from where a person has logged in.
type place struct {
	address netip.Prefix
	name    string
}

func newThrottle() *throttle {
	places, err := lru.New[place, *rate.Limiter](mostPlaces)
	if err != nil { // Only a size below one is refused.
		panic(err)
	}
	return &throttle{seed: maphash.MakeSeed(), known: map[string]*rate.Limiter{}, places: places}
}

func limiter() *rate.Limiter { return rate.NewLimiter(rate.Every(loginPause), loginBurst) }

// networkOf is an address as limits count it: a client with an IPv6 address has 2^64 of them.
func networkOf(address netip.Addr) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	p, _ := address.Prefix(bits) // The bits fit; of the zero Addr it is the zero Prefix.
	return p
}

// allow reports whether a log-in may be tried. known says whether there is such a user;
// what is seen from outside is the same.
func (t *throttle) allow(address netip.Addr, name string, known bool, now time.Time) bool { //nolint:revive // flag-parameter: only where the limit is kept differs.
	t.mu.Lock()
	defer t.mu.Unlock()
	network := networkOf(address)
	if own, ok := t.places.Get(place{network, name}); ok {
		return own.AllowN(now, 1)
	}
	byName := &t.unknown[maphash.String(t.seed, name)%buckets]
	if *byName == nil {
		*byName = limiter()
	}
	limit := *byName
	if known {
		if t.known[name] == nil {
			t.known[name] = limiter()
		}
		limit = t.known[name]
	}
	byAddress := &t.addresses[maphash.Comparable(t.seed, network)%buckets]
	if *byAddress == nil {
		*byAddress = limiter()
	}
	return (*byAddress).AllowN(now, 1) && limit.AllowN(now, 1)
}

// loggedIn remembers from where a person logged in.
func (t *throttle) loggedIn(address netip.Addr, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := place{networkOf(address), name}
	if !t.places.Contains(at) {
		t.places.Add(at, limiter())
	}
}
