package expect

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/trace"
	"arauto/schemas/expectation"
	"arauto/workers/internal/expectations"
)

// Routes are the HTTP routes by which services without NATS announce expected payments. They
// belong on the admin listener, which is not public.
type Routes struct {
	Token func() string // The bearer token now. While it is empty there are no routes.
	Store *expectations.Store
	Check func(provider, account, payment string) error // Why a payment cannot be expected.
	Log   *zap.Logger
}

// Answer is the body of a route's answer.
type Answer struct {
	Result  expectations.Result `json:"result,omitempty"`  // Empty for a refusal.
	Version string              `json:"version,omitempty"` // Of the expectation; outcomes carry it.
	Error   string              `json:"error,omitempty"`   // Why it is refused, or could not be stored.
}

const (
	// longestBody is the longest body that is read, in bytes.
	longestBody = 16 << 10
	// storeTimeout is how long the broker may take. A guess: the caller repeats the request.
	storeTimeout = 2 * time.Second
)

// Put announces an expectation: 200 says that it is durable and what it changed, 400 that it
// cannot be read, 401 that the token is missing or wrong, 422 that its payment cannot be
// expected, and 503 that it could not be stored.
func (r Routes) Put() http.Handler {
	return r.handler(func(w http.ResponseWriter, q *http.Request) (expectation.Expectation, bool) {
		body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, longestBody))
		if err != nil {
			r.answer(w, http.StatusBadRequest, Answer{Error: "the body cannot be read, or has more than 16 KiB"})
			return expectation.Expectation{}, false
		}
		e, err := expectation.Read(body)
		if err == nil && e.Payment != "" && e.Payment != q.PathValue("payment") {
			r.answer(w, http.StatusBadRequest, Answer{Error: "payment: it is not that of the path"})
			return e, false
		}
		if err != nil {
			r.answer(w, http.StatusBadRequest, Answer{Error: err.Error()})
			return e, false
		}
		return e, true
	})
}

// Delete withdraws an expectation. 200 says whether there was one.
func (r Routes) Delete() http.Handler {
	return r.handler(func(http.ResponseWriter, *http.Request) (expectation.Expectation, bool) {
		return expectation.Expectation{Withdrawn: true}, true
	})
}

func (r Routes) handler(read func(http.ResponseWriter, *http.Request) (expectation.Expectation, bool)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		token := r.Token()
		if token == "" {
			http.NotFound(w, q)
			return
		}
		if !allowed(q, token) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			r.answer(w, http.StatusUnauthorized, Answer{Error: "the bearer token is missing or wrong"})
			return
		}
		e, ok := read(w, q)
		if !ok {
			return
		}
		provider, account, payment := q.PathValue("provider"), q.PathValue("account"), q.PathValue("payment")
		if err := r.Check(provider, account, payment); err != nil {
			r.answer(w, http.StatusUnprocessableEntity, Answer{Error: err.Error()})
			return
		}
		ctx, cancel := context.WithTimeout(q.Context(), storeTimeout)
		defer cancel()
		result, version, err := r.Store.Announce(ctx, provider, account, payment, e, q.Header.Get(trace.Header))
		if err != nil {
			r.Log.Warn("expectation.store_failed", zap.String("provider", provider), zap.String("account", account), zap.Error(err))
			w.Header().Set("Retry-After", "1")
			r.answer(w, http.StatusServiceUnavailable, Answer{Error: "it could not be stored; send it again"})
			return
		}
		r.answer(w, http.StatusOK, Answer{Result: result, Version: version})
	})
}

// allowed reports whether a request carries the token. The comparison takes as long for any
// token.
func allowed(q *http.Request, token string) bool {
	scheme, given, _ := strings.Cut(q.Header.Get("Authorization"), " ")
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(given))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

func (r Routes) answer(w http.ResponseWriter, status int, a Answer) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(a); err != nil {
		r.Log.Debug("answer.write_failed", zap.Error(err))
	}
}
