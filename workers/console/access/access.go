// Package access decides who may use the console: it logs persons in and out, or takes
// their names from a trusted proxy, keeps their sessions, and refuses requests that another
// site made a browser send.
package access

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Mode is how the console learns who sends a request.
type Mode string

// The modes.
const (
	Off   Mode = "off"   // There is no log-in: every request may read, and none may act.
	Users Mode = "users" // Persons log in with a name and a password.
	Proxy Mode = "proxy" // A trusted proxy names the person in a header.
)

// User is a person of mode Users.
type User struct {
	Hash string // Of the password, as Hash makes it.
	Role Role
}

// Settings say who may do what.
type Settings struct {
	Mode   Mode
	Secure bool     // Browsers reach the console by TLS only, so that its cookie needs it.
	Hosts  []string // The host names, without a port, by which browsers may reach the console. None accepts no request.

	Users        map[string]User // By name, for mode Users.
	WithoutLogin Role            // What a request may without a log-in, in mode Users. The zero Role: nothing.
	Idle         time.Duration   // How long a session lasts without a request of the person; event streams and refreshes are none.
	Lifetime     time.Duration   // How long a session lasts at most.

	Header  string          // Names the person, in mode Proxy.
	Persons map[string]Role // By the name in the header; "*" for every other name.
	Proxies []netip.Prefix  // The peers whose Header and X-Forwarded-For are believed.

	Streams string           // The path of event streams, which end with their session, "" for none.
	Assets  string           // The path below which files without data are served without a role, "" for none.
	Now     func() time.Time // nil for the clock of the system.
}

// Access is who may use the console. It is safe for concurrent use.
type Access struct {
	settings atomic.Pointer[Settings]
	log      *zap.Logger
	metrics  metrics
	key      []byte // Makes tokens of cookies. It is random, so a restart ends them as it ends sessions.
	origin   *http.CrossOriginProtection
	sessions *sessions
	throttle *throttle
	checker  *checker
}

// New makes an Access, with its metrics at the registry.
func New(s Settings, log *zap.Logger, registry prometheus.Registerer) (*Access, error) {
	a := &Access{log: log, key: make([]byte, 32), origin: http.NewCrossOriginProtection(), sessions: newSessions(), throttle: newThrottle(), checker: newChecker()}
	_, _ = rand.Read(a.key) // It never fails since Go 1.24.
	a.metrics = newMetrics(a.sessions.count)
	if err := a.metrics.register(registry); err != nil {
		return nil, err
	}
	if err := a.Replace(s); err != nil {
		return nil, err
	}
	return a, nil
}

// Replace takes other settings while requests are served. The sessions of a person who was
// removed or has another password end, and another role holds from the next request.
func (a *Access) Replace(s Settings) error {
	if s.Now == nil {
		s.Now = time.Now
	}
	switch s.Mode {
	case Off:
	case Users:
		if s.Idle <= 0 || s.Lifetime < s.Idle {
			return errors.New("the lifetime of a session is shorter than its idle time")
		}
	case Proxy:
		if s.Header == "" || len(s.Proxies) == 0 {
			return errors.New("mode proxy needs a header and the networks of the proxies")
		}
	default:
		return fmt.Errorf("%q is no mode of access", s.Mode)
	}
	if err := a.checker.prepare(s.Users); err != nil {
		return err
	}
	a.settings.Store(&s)
	return nil
}

// LogsIn reports whether there is a page on which persons log in.
func (a *Access) LogsIn() bool { return a.settings.Load().Mode == Users }

// The paths that Handler serves itself.
const (
	LoginPath  = "/login"  // GET shows the form, with next as the page to go to; POST logs in.
	LogoutPath = "/logout" // POST ends the session.
)

// longestForm is the longest body of a request that is no GET, in bytes. A guess: the forms
// of the console have some fields.
const longestForm = 64 << 10

// Handler serves the log-in, and whatever the person may see by next, whose requests have
// the person and the token in their context. It refuses hosts that are not the console's,
// requests of other sites, and every request that is no GET or HEAD without its token, in
// the form field csrf or the header X-CSRF-Token.
func (a *Access) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := a.settings.Load()
		setHeaders(w.Header())
		if !s.knows(r.Host) {
			a.metrics.refused("host")
			a.log.Warn("request.refused", zap.String("reason", "host"))
			http.Error(w, "The console is not served under this host name; add it to console.hosts.", http.StatusMisdirectedRequest)
			return
		}
		if s.isAsset(r) {
			next.ServeHTTP(w, r)
			return
		}
		if r.URL.Path == stylePath {
			a.style(w, r)
			return
		}
		v, r := a.visitor(w, r, s)
		if !a.sameOrigin(w, r, v) {
			return
		}
		switch {
		case r.URL.Path == LoginPath && s.Mode == Users:
			a.login(w, r, s, v)
		case r.URL.Path == LogoutPath && s.Mode == Users:
			a.logout(w, r, s, v)
		case v.person.Role == noRole:
			a.turnAway(w, r, s)
		default:
			s.serveFor(v, next, w, r)
		}
	})
}

// sameOrigin reports whether a request that may change something was sent by a page of the
// console. It answers the others.
func (a *Access) sameOrigin(w http.ResponseWriter, r *http.Request, v visitor) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	if err := a.origin.Check(r); err != nil {
		a.forbid(w, r, v, "origin")
		return false
	}
	r.Body = http.MaxBytesReader(w, r.Body, longestForm)
	given := r.Header.Get("X-CSRF-Token")
	if given == "" {
		given = r.PostFormValue("csrf")
	}
	if v.sent == "" || !equal(given, v.token) {
		a.forbid(w, r, v, "token")
		return false
	}
	return true
}

// longestStream is how long an event stream lasts before its browser must open it again,
// which is when its session is checked.
const longestStream = 15 * time.Minute

// serveFor serves a request of a person who may read. An event stream ends with its session.
func (s *Settings) serveFor(v visitor, next http.Handler, w http.ResponseWriter, r *http.Request) {
	if s.isStream(r) {
		ctx, cancel := context.WithTimeout(r.Context(), longestStream)
		defer cancel()
		if v.session != nil {
			stop := context.AfterFunc(v.session.ended, cancel)
			defer stop()
		}
		r = r.WithContext(ctx)
	}
	next.ServeHTTP(w, r)
}

// turnAway answers a request without a person who may see the page.
func (a *Access) turnAway(w http.ResponseWriter, r *http.Request, s *Settings) {
	if s.Mode == Users && r.Method == http.MethodGet && !s.isRefresh(r) {
		http.Redirect(w, r, loginURL(r), http.StatusSeeOther) //nolint:gosec // Always the log-in page; the rest is an escaped parameter.
		return
	}
	if s.Mode == Users {
		a.page(w, r, http.StatusUnauthorized, pageData{Text: words(r).Ended, Login: LoginPath})
		return
	}
	a.metrics.refused("person")
	a.page(w, r, http.StatusForbidden, pageData{Text: words(r).Unknown})
}

// forbid answers a request that is not allowed. reason is one of a few words.
func (a *Access) forbid(w http.ResponseWriter, r *http.Request, v visitor, reason string) {
	a.metrics.refused(reason)
	a.log.Warn("request.refused", zap.String("reason", reason), zap.String("person", v.person.Name), zap.String("method", r.Method), zap.Stringer("address", v.address))
	text := words(r).Foreign
	if reason == "role" {
		text = words(r).Reader
	}
	a.page(w, r, http.StatusForbidden, pageData{Text: text, Back: "/"})
}
