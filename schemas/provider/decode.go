package provider

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/schemas/wire"
)

// maxWord is how long a word of a provider may be, in bytes. What is longer
// is no word, and must not travel into errors and events.
const maxWord = 64

// maxDigits is how many digits a word of a provider may have. Its longest number is a code
// of six; a telephone number has eight, and a card's number and a Pix code have more.
const maxDigits = 7

// DecodeWebhook reads a webhook's JSON object into dst. Its errors wrap
// ErrInvalid.
func DecodeWebhook(w Webhook, dst any) error {
	if err := wire.Object(w.Body, dst); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// DecodeForm reads a webhook's form, URL-encoded or multipart. Its errors wrap
// ErrInvalid.
func DecodeForm(w Webhook) (url.Values, error) {
	kinds := append([]string{""}, w.Header.Values("content-type")...)
	form, err := wire.FormOf(kinds[len(kinds)-1], w.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return form, nil
}

// DecodeReply reads the JSON object of a 200 into dst. Any other status gives
// its class by StatusError, an object that cannot be read ErrUnreadable.
func DecodeReply(r Reply, dst any) error {
	if err := StatusError(r.Status); err != nil {
		return err
	}
	if err := wire.Object(r.Body, dst); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return nil
}

// NoAnswer is what adapters ask of a reply before they decode it. own says that the body
// is the provider's own error. Then the statuses unknown mean ErrNotFound. A 403 that is
// not its own is ErrForeign: a firewall refuses a request for the id in it, and says
// nothing of the credential. Any other reply gives nil.
func NoAnswer(r Reply, own bool, unknown ...int) error {
	switch {
	case own && slices.Contains(unknown, r.Status):
		return fmt.Errorf("status %d: %w", r.Status, ErrNotFound)
	case !own && r.Status == http.StatusForbidden:
		return fmt.Errorf("status %d: %w", r.Status, ErrForeign)
	}
	return nil
}

// IsObject reports whether a reply is a JSON object, which is all
// that tells the own error of a provider that documents none.
func IsObject(r Reply) bool { return wire.Object(r.Body, &struct{}{}) == nil }

// CheckIDs says why a webhook's ids cannot be used: the payment must be there,
// the order may be "". Its errors wrap ErrInvalid.
func CheckIDs(payment, order string) error { return CheckNamed("payment", payment, "order", order) }

// CheckNamed is CheckIDs with the names of the fields that have the ids, as the
// provider calls them.
func CheckNamed(paymentField, payment, orderField, order string) error {
	if err := subject.CheckID(payment); err != nil {
		rule := RuleID
		if payment == "" {
			rule = RuleMissing
		}
		return Refuse(rule, paymentField, "payment: %w", err)
	}
	if order == "" {
		return nil
	}
	if err := subject.CheckID(order); err != nil {
		return Refuse(RuleID, orderField, "order: %w", err)
	}
	return nil
}

// CheckForm says why the named id has not the form that its provider documents: at
// most longest bytes of ASCII letters, digits and the others. Only an adapter
// whose provider's documents leave no doubt may ask it, because a refused
// webhook is lost. An id that the merchant chooses freely has no form. Its
// errors wrap ErrInvalid and do not show the id.
func CheckForm(name, id string, longest int, others string) error {
	if len(id) > longest {
		return Refuse(RuleForm, name, "%s: id has more than %d bytes", name, longest)
	}
	if strings.Trim(id, alphanumeric+others) != "" {
		return Refuse(RuleForm, name, "%s: id is not of the provider's form", name)
	}
	return nil
}

// Unknown is the notice of a webhook whose type we do not know. It is stored
// under the first id that is there, else under "unknown", so that somebody
// can look at it; nobody is asked about it.
func Unknown(kind order.Kind, word string, ids ...string) (Notice, error) {
	if len(word) > maxWord {
		return Notice{}, Refuse(RuleWord, "type", "its type is too long")
	}
	if word != "" && !Sayable(word) {
		return Notice{}, Refuse(RuleWord, "type", "its type is personal data")
	}
	payment := "unknown"
	for _, id := range ids {
		if subject.CheckID(id) == nil {
			payment = id
			break
		}
	}
	if err := CheckNamed("payment", payment, "type", word); err != nil {
		return Notice{}, err
	}
	return Notice{Kind: kind, Payment: payment, Unknown: word}, nil
}

// Present is fields without those that a webhook left empty, and without what
// is no code: a field that should hold one could hold a person's name.
func Present(fields map[string]string) map[string]string {
	maps.DeleteFunc(fields, func(_, value string) bool { return Code(value) == "" })
	return fields
}

// codeLetters is what providers' words, opaque ids, reasons and dates are made
// of, and maxCode how many bytes of it they have at most.
const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	codeLetters  = alphanumeric + "._:/+-"
	maxCode      = 200
)

// Code returns text from outside when it can only be a code, else "": free
// text may be about a person, and so may a number that is a valid CPF or CNPJ,
// a card's number, or a telephone number with its country.
func Code(text string) string {
	if len(text) > maxCode || strings.Trim(text, codeLetters) != "" || subject.Personal(text) || card(text) || strings.HasPrefix(text, "+") {
		return ""
	}
	return text
}

// card reports whether text is the number of a payment card: 13 to 19 digits with the check
// digit of ISO/IEC 7812, of an industry that issues payment cards. One number in
// thirty is taken for one by chance.
func card(text string) bool {
	text = strings.ReplaceAll(text, "-", "")
	if len(text) < 13 || len(text) > 19 || text[0] < '3' || text[0] > '6' || digitsIn(text) < len(text) {
		return false
	}
	sum := 0
	for i := range len(text) {
		n := int(text[len(text)-1-i] - '0')
		if i%2 == 1 {
			n = n*2%10 + n*2/10
		}
		sum += n
	}
	return sum%10 == 0
}

func digitsIn(text string) (n int) {
	for _, c := range []byte(text) {
		if '0' <= c && c <= '9' {
			n++
		}
	}
	return n
}

// Sayable reports whether text from where a provider puts its words may be
// kept as one, whatever letters it has: it is short, and no number of a person.
func Sayable(text string) bool {
	return text != "" && len(text) <= maxWord && !subject.Personal(text) && digitsIn(text) <= maxDigits
}

// Word translates a provider's word with the vocabulary of one kind, and returns
// it as the vocabulary spells it: providers change the case of their words from
// one version to the next. A word that is not in it in any case is an
// UnknownWordError, which logs, letters and events show; what is not Sayable is
// ErrUnreadable, and is not repeated.
func Word(vocabulary map[string]order.Status, word string) (order.Status, string, error) {
	known, ok := entry(vocabulary, word)
	switch {
	case ok:
		return vocabulary[known], known, nil
	case word == "":
		return "", word, fmt.Errorf("%w: it has no status", ErrUnreadable)
	case len(word) > maxWord:
		return "", word, fmt.Errorf("%w: its status is too long to be a word", ErrUnreadable)
	case !Sayable(word):
		return "", word, fmt.Errorf("%w: its status is personal data", ErrUnreadable)
	}
	return "", word, &UnknownWordError{Word: word}
}

// entry finds word in a vocabulary: as it stands, else in another case. Entries
// that differ in nothing else mean the same, which Check holds; then the first
// of them in byte order is returned.
func entry(vocabulary map[string]order.Status, word string) (found string, ok bool) {
	if _, ok := vocabulary[word]; ok {
		return word, true
	}
	for known := range vocabulary {
		if strings.EqualFold(known, word) && (!ok || known < found) {
			found, ok = known, true
		}
	}
	return found, ok
}

// AfterRefunds is what becomes of a paid or settled payment of value
// centavos when refunded of them were given back. Other statuses stand, and
// so does an unknown value, which is 0.
func AfterRefunds(status order.Status, value, refunded int64) order.Status {
	switch {
	case status != order.Paid && status != order.Settled, value == 0, refunded == 0:
		return status
	case refunded < value:
		return order.PartiallyRefunded
	default:
		return order.Refunded
	}
}

// Sums are what an answer says of a payment's money, in minor units; 0 is what it
// does not tell.
type Sums struct {
	Authorized int64
	Captured   int64 // Before refunds.
	Refunded   int64
	Void       bool // It says in so many words that nothing was captured.
}

// Value is what was captured once something was, else what was authorized.
func (s Sums) Value() int64 { return cmp.Or(s.Captured, s.Authorized) }

// AmountOf is the amount of a payment with the given status, nil when the provider
// gives none. currency is its ISO 4217 code. A payment that is refunded without an explicit sum was refunded
// whole, unless nothing was captured: see order.Observation.Void. Sums that
// cannot be are ErrUnreadable.
func AmountOf(currency string, status order.Status, s Sums) (*order.Amount, error) {
	value, refunded := s.Value(), s.Refunded
	switch {
	case s.Authorized < 0, s.Captured < 0, refunded < 0:
		return nil, fmt.Errorf("%w: an amount is negative", ErrUnreadable)
	case value == 0 && refunded > 0:
		return nil, fmt.Errorf("%w: it has a refund but no value", ErrUnreadable)
	case value == 0:
		return nil, nil
	case status == order.Refunded && refunded == 0 && (!s.Void || s.Authorized == 0):
		refunded = value
	}
	return &order.Amount{Currency: currency, Value: value, Refunded: refunded, Authorized: s.Authorized}, nil
}
