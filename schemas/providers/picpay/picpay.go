// Package picpay is PicPay's e-commerce API ("Ecommerce Carteira") and, on the
// same route, Xekout's contract, which has the same body. The callback says
// only which payment changed; PicPay leaves the new status out on purpose, so
// it is always looked up.
package picpay

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// Provider is PicPay e-commerce. The two tokens have a direction:
// x-seller-token comes from PicPay, x-picpay-token goes to PicPay.
var Provider = provider.Provider{
	Name:       "picpay",
	Sample:     sample,
	Vocabulary: map[order.Kind]map[string]order.Status{order.Payment: words},
	Verify:     provider.Static("x-seller-token", ""),
	Read:       provider.One(read),
	Settings: []provider.Setting{
		{
			Name: "base_url", URL: true, Required: true, Default: "https://appws.picpay.com/ecommerce/public",
			Help: "PicPay's public e-commerce API (its OpenAPI file; PicPay has no sandbox)",
		},
		{Name: "token", Secret: true, Required: true, Help: "the x-picpay-token of the merchant panel, for look-ups"},
	},
	Ask:    ask,
	Answer: answer,
}

// callback is the webhook. Since November 2021 some callbacks come in the
// shape of VTEX instead, undocumented, with paymentId and a status from
// another word set; that status is not read.
type callback struct {
	ReferenceID     wire.ID     `json:"referenceId"`
	PaymentID       wire.ID     `json:"paymentId"`
	AuthorizationID wire.HintID `json:"authorizationId"` // Missing until the payment is authorized.
}

func read(w provider.Webhook) (provider.Notice, error) {
	var c callback
	if err := provider.DecodeWebhook(w, &c); err != nil {
		return provider.Notice{}, err
	}
	payment := string(cmp.Or(c.ReferenceID, c.PaymentID))
	if err := provider.CheckNamed("referenceId", payment, "", ""); err != nil {
		return provider.Notice{}, err
	}
	return provider.Notice{
		Kind: order.Payment, Payment: payment, Order: payment,
		Fields: provider.Present(map[string]string{"authorizationId": c.AuthorizationID.Loose()}),
	}, nil
}

func ask(t provider.Target, a provider.Account) (provider.Question, error) {
	return provider.Get(a, "/payments/"+url.PathEscape(t.Payment)+"/status", "x-picpay-token", a.Settings["token"]), nil
}

// status is the look-up's answer. The summary is in decimal reais; answers of
// the legacy API have none.
type status struct {
	ReferenceID     wire.ID              `json:"referenceId"`
	AuthorizationID wire.HintID          `json:"authorizationId"`
	Status          string               `json:"status"`
	Summary         wire.Struct[summary] `json:"summary"`
}

type summary struct {
	Authorized wire.Text `json:"authorized"`
	Paid       wire.Text `json:"paid"`
	Refunded   wire.Text `json:"refunded"`
}

func answer(t provider.Target, _ provider.Account, r provider.Reply) (order.Fact, error) {
	if err := provider.NoAnswer(r, ownError(r), http.StatusNotFound); err != nil {
		return order.Fact{}, err
	}
	var s status
	if err := provider.DecodeReply(r, &s); err != nil {
		return order.Fact{}, err
	}
	if string(s.ReferenceID) != t.Payment {
		return order.Fact{}, fmt.Errorf("%w: it is about another payment", provider.ErrUnreadable)
	}
	sums, err := s.Summary.Fields.sums()
	if err != nil {
		return order.Fact{}, err
	}
	word, said, unknown := provider.Word(words, s.Status)
	// A partial refund keeps the word, so only the sum tells.
	word = provider.AfterRefunds(word, sums.Value(), sums.Refunded)
	amount, err := provider.AmountOf("BRL", word, sums)
	if err != nil && unknown == nil { // Sums that make no sense must not hide a word that we lack.
		return order.Fact{}, err
	}
	return order.Fact{
		Kind: order.Payment, Order: t.Payment, ProviderReference: provider.Code(s.AuthorizationID.Loose()),
		Status: word, ProviderStatus: said, Amount: amount,
	}, unknown
}

// noRoute is what Kong, whose 429 PicPay documents word for word, says of a path
// that leads nowhere.
const noRoute = "no Route matched with those values"

// ownError reports whether r has the body of PicPay's own errors. It documents
// what they look like, and neither a 404 for a reference that it does not know nor
// a 403.
func ownError(r provider.Reply) bool {
	var refusal struct {
		Message wire.Loose `json:"message"`
	}
	return wire.Object(r.Body, &refusal) == nil && refusal.Message != "" && refusal.Message != noRoute
}

// sums reads the summary. PicPay does not say whether paid is net of refunds. Where
// more was refunded than paid it must be; else the payment's log decides, see
// order.Standing. A paid of 0 is a statement, a missing one is none.
func (s summary) sums() (provider.Sums, error) {
	cents := make([]int64, 3)
	for i, sum := range []wire.Text{s.Authorized, s.Paid, s.Refunded} {
		var err error
		if cents[i], err = sum.Cents(); err != nil {
			return provider.Sums{}, fmt.Errorf("%w: summary: %w", provider.ErrUnreadable, err)
		}
	}
	sums := provider.Sums{Authorized: cents[0], Captured: cents[1], Refunded: cents[2]}
	sums.Void = s.Paid != "" && sums.Captured == 0
	if sums.Refunded > sums.Captured && (sums.Captured > 0 || sums.Authorized > 0) {
		sums.Captured += sums.Refunded
	}
	return sums, nil
}
