// Package provider says what a payment provider is to Arauto: a value of pure
// functions. An adapter describes who is calling, which payment a webhook is
// about, what to ask, and what the answer means; the runtime does all input
// and output. So timeouts, limits, redaction and retries are the same for
// every provider, and adapters need no mocks.
package provider

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"arauto/schemas/order"
)

// Provider is everything we know about one payment provider. A missing
// ability is a nil field.
type Provider struct {
	// Name is the slug: path segment, subject token and configuration key.
	Name string

	// Vocabulary maps every word that the provider's answers and trusted
	// claims can use to our status, for each kind that it reports. A word that
	// is not in it is an UnknownWordError.
	Vocabulary map[order.Kind]map[string]order.Status

	// Unsigned says why the provider's webhooks carry no credential. When it is
	// not empty the path carries an unguessable key per account instead, and
	// Verify is nil.
	Unsigned string

	// Verify says who is calling: the index of the first secret that matches,
	// ErrNoCredential when the webhook carries none, ErrBadCredential else. It
	// compares in constant time and fails closed: without a non-empty secret
	// nobody gets in.
	Verify func(w Webhook, secrets []string) (int, error)

	// SignsBody says that Verify needs the body. Else it is called before the
	// body is read, with a Webhook that has none: what a stranger sends is then
	// not even read. The body is the one that Read gets: what a sender, or a
	// proxy on the way, packed with gzip is unpacked before it is verified.
	SignsBody bool

	// Query are the query parameters that the provider's contract adds to the
	// webhook's address. Verify and Read get these and no other.
	Query []Parameter

	// ClientCertificate says that Verify needs the client's TLS certificate. The
	// gateway asks all clients for one if any provider needs it, and leaves to
	// Verify which one will do.
	ClientCertificate bool

	// Tolerance is how far the timestamp that a signature covers may lie from
	// the webhook's arrival, in both directions; 0 where nothing signs one. It
	// is not below the time during which the provider is documented to send a
	// webhook again, because a redelivery may carry its first timestamp.
	Tolerance time.Duration

	// Read says which payments the webhook is about: one notice for each, and
	// at least one. It keeps allow-listed fields only, copies what it keeps,
	// and wraps ErrInvalid when the webhook is unusable. Each notice is stored
	// as a notification of its own, in this order, and the webhook is answered
	// 200 only when all of them are durable. If one is not, the answer is 503;
	// those before it stay stored, and the redelivery stores them once more,
	// which costs a look-up and makes no event. Most webhooks are about one
	// payment: see One.
	Read func(w Webhook) ([]Notice, error)

	// Settings are what an account of this provider is configured with, beside
	// its webhook secrets or path key.
	Settings []Setting

	// Login describes how to get the bearer token that Ask's questions need,
	// nil when they carry their own credential.
	Login *Login

	// Ask is the question that gets the payment's state. It returns
	// ErrNoLookUp when the account has none; nil when the provider has none.
	Ask func(t Target, a Account) (Question, error)

	// Answer says what a reply means. Errors wrap one of the sentinels of this
	// package; an unknown word is an UnknownWordError beside the rest of the
	// fact. It never returns a fact about another payment.
	Answer func(t Target, a Account, r Reply) (order.Fact, error)

	// RetryOffsets, when there are any, make a retry policy that is called like the
	// provider: the attempts after a failed look-up, exact, counted from the first
	// failure, ascending.
	RetryOffsets []time.Duration

	// Payload takes the stored notification's fields as the fact, for accounts
	// that have no look-up. Its errors are those of Answer.
	Payload func(t Target) (order.Fact, error)

	// Kind says of which kind the payment with an id is, where no webhook said so. It is
	// nil where the provider's ids do not tell; see KindOf.
	Kind func(payment string) order.Kind

	// Sample plays the provider. It is never used in production.
	Sample Sample
}

// Webhook is one inbound request, as far as adapters may see it. Nothing in
// it may be kept or changed after the call.
type Webhook struct {
	Method      string
	Path        string     // As it was sent, without the query. It has the path key of a provider that does not sign.
	Query       url.Values // The parameters of Provider.Query only.
	Header      Header
	Body        []byte
	At          time.Time // When it arrived.
	Certificate []byte    // The client's TLS certificate in DER, nil without one.
}

// Parameter is a query parameter of a webhook's address.
type Parameter struct {
	Name   string
	Signed bool // The signature covers it.
}

// One is a Read for providers whose webhooks are about one payment each.
func One(read func(w Webhook) (Notice, error)) func(Webhook) ([]Notice, error) {
	return func(w Webhook) ([]Notice, error) {
		n, err := read(w)
		if err != nil {
			return nil, err
		}
		return []Notice{n}, nil
	}
}

// Notices is what Read gives, with every id checked. Only an error that wraps ErrInvalid is
// about the webhook; any other is a fault of the adapter.
func (p Provider) Notices(w Webhook) ([]Notice, error) {
	all, err := p.Read(w)
	if err == nil && len(all) == 0 {
		return nil, errors.New("adapter found neither a payment nor a reason to refuse the webhook")
	}
	for _, n := range all {
		if err == nil {
			err = CheckIDs(n.Payment, n.Order)
		}
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// KindOf is the kind of the provider's payment with that id: what Kind says, else a payment,
// or a payout where the provider reports no payments.
func (p Provider) KindOf(payment string) order.Kind {
	switch {
	case p.Kind != nil:
		return p.Kind(payment)
	case p.Vocabulary[order.Payment] == nil:
		return order.Payout
	}
	return order.Payment
}

// Parameters is what a provider's Webhook has as Query: of a raw query the
// parameters that the provider's contract adds. It is empty for a query that
// cannot be read.
func (p Provider) Parameters(raw string) url.Values {
	if len(p.Query) == 0 {
		return nil
	}
	all, err := url.ParseQuery(raw)
	kept := url.Values{}
	for _, q := range p.Query {
		if values, ok := all[q.Name]; ok && err == nil {
			kept[q.Name] = values
		}
	}
	return kept
}

// Header gives every value of an inbound header, by its lower-case name, in
// the order of arrival.
type Header interface{ Values(name string) []string }

// HeaderMap is a Header whose keys are lower-case names.
type HeaderMap map[string][]string

// Values returns the values of the named header, nil when it is absent.
func (h HeaderMap) Values(name string) []string { return h[name] }

// Notice is what a webhook is about, before anybody has been asked.
type Notice struct {
	Kind    order.Kind
	Payment string            // Names the log; CheckID of schemas/subject accepts it.
	Order   string            // "" where the webhook names none.
	Unknown string            // The provider's type when it is one that we do not know, else "".
	Fields  map[string]string // Allow-listed: no secret, no personal data.
}

// Target is the payment that a question is about: what was kept of it when it
// was notified.
type Target struct {
	Kind    order.Kind
	Payment string
	Order   string
	Fields  map[string]string
}

// Account is one merchant's account at the provider, with every Setting that
// the provider declares: its configured value or the default.
type Account struct {
	Name     string
	Settings map[string]string
}

// Setting is one configurable value of an account.
type Setting struct {
	Name     string
	Secret   bool   // Never printed; must come from the environment or a file.
	Required bool   // For look-ups.
	URL      bool   // An absolute http or https URL without user information.
	Default  string // Used when it is not configured.
	Help     string // One line, with the source for a provider fact.
}

// Get is the question for the JSON at a path below the account's base_url, with headers
// beside it as names and values in turn.
func Get(a Account, path string, headers ...string) Question {
	q := Question{
		Method: http.MethodGet,
		URL:    strings.TrimRight(a.Settings["base_url"], "/") + path,
		Header: map[string]string{"accept": "application/json"},
	}
	for i := 0; i < len(headers); i += 2 {
		q.Header[headers[i]] = headers[i+1]
	}
	return q
}

// LookUpURL returns the URL of an account's look-ups, about some payment. ok is false for an
// account without a look-up. The URL is nil if the settings make none.
func (p Provider) LookUpURL(a Account) (at *url.URL, ok bool) {
	if p.Ask == nil {
		return nil, false
	}
	question, err := p.Ask(Target{Payment: "p", Order: "o"}, a)
	if errors.Is(err, ErrNoLookUp) {
		return nil, false
	}
	if at, err = url.Parse(question.URL); err != nil || question.URL == "" {
		return nil, true
	}
	return at, true
}

// Question is an HTTP request to the provider, described but not performed.
type Question struct {
	Method string
	URL    string // Absolute; every id from outside in it is escaped.
	Header map[string]string
	Body   []byte
}

// Reply is what came back, whole and within the runtime's size limit.
type Reply struct {
	Status int
	Header HeaderMap
	Body   []byte
}

// Login describes an OAuth2-like exchange. The runtime caches the token until
// shortly before it ends and sends it as "Authorization: Bearer <token>".
type Login struct {
	Ask    func(a Account) (Question, error)
	Answer func(r Reply) (Token, error)
}

// Token is a bearer token and how long it is valid from the moment it was
// asked for.
type Token struct {
	Value    string
	Lifetime time.Duration
}
