package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// policy lets a page load what the console itself serves, and nothing that stands in the
// page: an id or a provider's word that became HTML could not run.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// Not no-referrer, with which browsers send the origin null with a form.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store") // Assets set another value.
}

// knows reports whether a request's Host is a name of the console. Otherwise a page of
// another site, whose name an attacker lets point to this address, could read the console.
func (s *Settings) knows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	return host != "" && slices.ContainsFunc(s.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

func (s *Settings) isAsset(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	return s.Assets != "" && strings.HasPrefix(r.URL.Path, s.Assets) && !strings.Contains(r.URL.Path, "..")
}

// isStream reports whether the request opens an event stream.
func (s *Settings) isStream(r *http.Request) bool { return s.Streams != "" && r.URL.Path == s.Streams }

// isRefresh reports whether a page sent the request by itself, and no person. Such requests do
// not make a session last, and are not led to the log-in: a script would take that for the
// page.
func (s *Settings) isRefresh(r *http.Request) bool {
	return s.isStream(r) || r.Header.Get("X-Fragment") != ""
}

// cookieName is the name of the only cookie. With the prefix __Host- a browser takes it by
// TLS from this host alone, so that no neighbouring host can set it.
func (s *Settings) cookieName() string {
	if s.Secure {
		return "__Host-arauto_console"
	}
	return "arauto_console"
}

// setCookie gives the browser a new random value, and returns it. The cookie is Lax and not
// Strict, so that a link in a chat leads to the page and not to the log-in; no GET changes
// anything.
func (s *Settings) setCookie(w http.ResponseWriter) string {
	value := random()
	http.SetCookie(w, &http.Cookie{Name: s.cookieName(), Value: value, Path: "/", Secure: s.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}) //nolint:gosec // G124: Secure is what the configuration says; on the loopback address there is no TLS.
	return value
}

// random is 256 bits as text.
func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // It never fails since Go 1.24.
	return base64.RawURLEncoding.EncodeToString(b)
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// tokenOf is the token of a browser's cookie and person. A site that cannot read the cookie
// cannot make it.
func (a *Access) tokenOf(cookie, person string) string {
	mac := hmac.New(sha256.New, a.key)
	_, _ = mac.Write([]byte(cookie + "\x00" + person)) // A hash never fails.
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// visitor finds out who sent the request, and puts it into the request's context. A browser
// without a cookie gets one, from which the token of its forms is made.
func (a *Access) visitor(w http.ResponseWriter, r *http.Request, s *Settings) (visitor, *http.Request) {
	v := visitor{access: a, address: s.client(r)}
	if c, err := r.Cookie(s.cookieName()); err == nil {
		v.sent = c.Value
	}
	switch s.Mode {
	case Off:
		v.person = Person{Role: Reader}
	case Users:
		v.person = Person{Role: s.WithoutLogin}
		if found, name := a.sessions.find(v.sent, s, !s.isRefresh(r)); found != nil {
			v.session, v.person = found, Person{Name: name, Role: s.Users[name].Role}
		}
	case Proxy:
		v.person = a.named(r, s)
	}
	cookie := v.sent
	if cookie == "" && !s.isRefresh(r) {
		cookie = s.setCookie(w)
	}
	v.token = a.tokenOf(cookie, v.person.Name)
	return v, r.WithContext(context.WithValue(r.Context(), contextKey{}, v))
}

// named is the person whom a trusted proxy names. A header of any other peer counts for
// nothing, and neither does one that is there twice.
func (a *Access) named(r *http.Request, s *Settings) Person {
	given := r.Header.Values(s.Header)
	if peer := peerOf(r); !s.trusts(peer) {
		if len(given) > 0 {
			a.metrics.refused("proxy")
		}
		return Person{}
	}
	if len(given) != 1 || !IsName(given[0]) {
		return Person{}
	}
	role, ok := s.Persons[given[0]]
	if !ok {
		role = s.Persons["*"]
	}
	return Person{Name: given[0], Role: role}
}

func (s *Settings) trusts(peer netip.Addr) bool {
	return slices.ContainsFunc(s.Proxies, func(p netip.Prefix) bool { return p.Contains(peer) })
}

// peerOf is the address at the other end of the connection, the zero Addr for none.
func peerOf(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return peer.Addr().Unmap().WithZone("")
}

// client is the address of the browser: the peer, or the last address in X-Forwarded-For
// that is no trusted proxy itself.
func (s *Settings) client(r *http.Request) netip.Addr {
	at := peerOf(r)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusts(at); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		at = hop.Unmap().WithZone("")
	}
	return at
}

// loginURL is the log-in that leads to the request's page.
func loginURL(r *http.Request) string {
	if r.URL.RequestURI() == "/" {
		return LoginPath
	}
	return LoginPath + "?next=" + url.QueryEscape(r.URL.RequestURI())
}

// inside is a path of the console, "/" for anything that would lead a browser elsewhere.
func inside(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || len(next) > 2000 || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") ||
		strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}
