package access

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
)

// Role is what a person may do. A higher one may do all that a lower one may. The zero Role
// may do nothing.
type Role int

// The roles.
const (
	noRole   Role = iota
	Reader        // Sees every page.
	Operator      // Acts too.
)

// String is the role as it is configured.
func (r Role) String() string {
	switch r {
	case Reader:
		return "reader"
	case Operator:
		return "operator"
	case noRole:
	}
	return "none"
}

// ParseRole reads a role as it is configured: reader or operator.
func ParseRole(word string) (Role, error) {
	for _, r := range []Role{Reader, Operator} {
		if word == r.String() {
			return r, nil
		}
	}
	return noRole, fmt.Errorf("%q is no role; write reader or operator", word)
}

// Person is who sent a request. Without a log-in the name is empty.
type Person struct {
	Name string // As AUDIT has it.
	Role Role
}

// nameForm keeps what AUDIT keeps free of e-mail addresses, which are personal data, and of
// what could be read as something else.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// IsName reports whether a name may be a person's: 1 to 64 of a-z, 0-9, dot, _ and -. An
// e-mail address is none, because AUDIT keeps the names of those who acted.
func IsName(name string) bool { return nameForm.MatchString(name) }

// visitor is what Handler knows about the sender of a request.
type visitor struct {
	person  Person
	sent    string // The value of the cookie that came with the request, "" for none.
	token   string // What a form must carry.
	address netip.Addr
	session *session // nil without one.
	access  *Access
}

type contextKey struct{}

// From returns who sent the request of the context. It is the zero Person outside of
// Handler.
func From(ctx context.Context) Person { return of(ctx).person }

// Sender returns for whom limits count the request of the context: the person, or without a
// log-in the network of the address.
func Sender(ctx context.Context) string {
	v := of(ctx)
	if v.person.Name != "" {
		return v.person.Name
	}
	return networkOf(v.address).String() // No name has a slash.
}

// Token returns what a form of the request's answer must have in its hidden field csrf.
func Token(ctx context.Context) string { return of(ctx).token }

func of(ctx context.Context) visitor {
	v, _ := ctx.Value(contextKey{}).(visitor)
	return v
}

// Require serves the request by next if its person has the role or a higher one. It must
// be below Handler; elsewhere it refuses every request.
func Require(role Role, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := of(r.Context())
		switch {
		case v.access == nil:
			http.Error(w, "forbidden", http.StatusForbidden)
		case v.person.Role >= role:
			next.ServeHTTP(w, r)
		case v.person.Name == "" && v.access.LogsIn() && r.Method == http.MethodGet:
			http.Redirect(w, r, loginURL(r), http.StatusSeeOther) //nolint:gosec // Always the log-in page; the rest is an escaped parameter.
		default:
			v.access.forbid(w, r, v, "role")
		}
	})
}
