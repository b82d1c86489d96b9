// Package picpaycheckout is PicPay Checkout ("Gateway PicPay"): its charges,
// and its 3DS authentications as units of their own, because a 3DS result is
// about a cardholder, moves no money, and can come before the order exists.
package picpaycheckout

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// challengePrefix makes the payment of a 3DS authentication from its chargeId.
const challengePrefix = "3ds-"

// Provider is PicPay Checkout. The documented sample sends the bare token in
// the authorization header; PicPay's own plug-in also takes "Bearer".
var Provider = provider.Provider{
	Name:   "picpay-checkout",
	Sample: sample,
	Vocabulary: map[order.Kind]map[string]order.Status{
		order.Payment:        charges,
		order.Authentication: challenges,
	},
	Verify: provider.Static("authorization", "Bearer"),
	Read:   provider.One(read),
	Settings: []provider.Setting{
		{
			Name: "base_url", URL: true, Required: true, Default: "https://checkout-api.picpay.com/api/v1",
			Help: "PicPay Checkout's API (host as in PicPay's Adobe Commerce module)",
		},
		{
			Name: "token_url", URL: true, Required: true, Default: "https://checkout-api.picpay.com/oauth2/token",
			Help: "where client credentials become a token (PicPay's token page)",
		},
		{Name: "client_id", Required: true, Help: "OAuth2 client of the merchant panel"},
		{Name: "client_secret", Secret: true, Required: true, Help: "its secret"},
	},
	Login:  &provider.Login{Ask: askToken, Answer: answerToken},
	Ask:    ask,
	Answer: answer,
	Kind:   kind,
}

func kind(payment string) order.Kind {
	if strings.HasPrefix(payment, challengePrefix) {
		return order.Authentication
	}
	return order.Payment
}

func ask(t provider.Target, a provider.Account) (provider.Question, error) {
	path := "/charge/" + url.PathEscape(t.Payment)
	if t.Kind == order.Authentication {
		path = "/charge/3ds/" + url.PathEscape(chargeID(t)) + "/status"
	}
	return provider.Get(a, path), nil
}

func chargeID(t provider.Target) string { return strings.TrimPrefix(t.Payment, challengePrefix) }

func answer(t provider.Target, _ provider.Account, r provider.Reply) (order.Fact, error) {
	// It lists a 404 for unknown authentications and only a 400 for charges.
	if err := provider.NoAnswer(r, ownError(r), http.StatusBadRequest, http.StatusNotFound); err != nil {
		return order.Fact{}, err
	}
	if t.Kind == order.Authentication {
		return answerChallenge(t, r)
	}
	return answerCharge(t, r)
}

// ownError reports whether r has the body of Checkout's own errors.
func ownError(r provider.Reply) bool {
	var refusal struct {
		Success *bool `json:"success"`
	}
	return wire.Object(r.Body, &refusal) == nil && refusal.Success != nil && !*refusal.Success
}

// charge is the look-up's answer. Its field names differ from the webhook's.
// Amounts are centavos; amount is what is left of the captured sum after refunds,
// and before the capture the authorized sum.
type charge struct {
	MerchantChargeID wire.ID                    `json:"merchantChargeId"`
	ID               wire.HintID                `json:"id"`
	Status           string                     `json:"chargeStatus"`
	Amount           *int64                     `json:"amount"`
	OriginalAmount   int64                      `json:"originalAmount"`
	RefundedAmount   int64                      `json:"refundedAmount"`
	Transactions     []wire.Struct[transaction] `json:"transactions"`
}

type transaction struct {
	Status string `json:"transactionStatus"`
}

func answerCharge(t provider.Target, r provider.Reply) (order.Fact, error) {
	var c charge
	if err := provider.DecodeReply(r, &c); err != nil {
		return order.Fact{}, err
	}
	if string(c.MerchantChargeID) != t.Payment {
		return order.Fact{}, fmt.Errorf("%w: it is about another charge", provider.ErrUnreadable)
	}
	word, said, unknown := provider.Word(charges, c.Status)
	sums := c.sums(word)
	word = c.refine(word, said, sums)
	amount, err := provider.AmountOf("BRL", word, sums)
	if err != nil {
		return order.Fact{}, err
	}
	return order.Fact{
		Kind: order.Payment, Order: t.Payment, ProviderReference: provider.Code(c.ID.Loose()),
		Status: word, ProviderStatus: said, Amount: amount,
	}, unknown
}

// refine adds what the word alone does not tell. A pre-authorized charge is a
// card hold only when a transaction says so, else a QR code that waits for its
// payer. A charge may stay PAID while it is given back: then the sum tells.
func (c charge) refine(word order.Status, said string, sums provider.Sums) order.Status {
	if said == "PRE_AUTHORIZED" || said == "PreAuthorized" {
		for _, t := range c.Transactions {
			if strings.EqualFold(t.Fields.Status, "PRE_AUTHORIZED") {
				return order.Authorized
			}
		}
	}
	return provider.AfterRefunds(word, sums.Value(), sums.Refunded)
}

// sums reads what was captured where the word says that money moved: it is
// amount and refundedAmount together, and at most originalAmount.
func (c charge) sums(word order.Status) provider.Sums {
	sums := provider.Sums{Authorized: c.OriginalAmount, Refunded: c.RefundedAmount}
	switch word {
	case order.Paid, order.PartiallyRefunded, order.Refunded, order.ChargedBack:
		if c.Amount != nil {
			sums.Captured = min(*c.Amount+c.RefundedAmount, c.OriginalAmount)
			sums.Void = sums.Captured == 0
		}
	default: // Nothing is captured yet, or nothing will be.
	}
	return sums
}

// answerChallenge reads a 3DS status. It names neither the authentication nor
// the order, so the order is the one of the signed webhook.
func answerChallenge(t provider.Target, r provider.Reply) (order.Fact, error) {
	var challenge struct {
		Status string `json:"status"`
	}
	if err := provider.DecodeReply(r, &challenge); err != nil {
		return order.Fact{}, err
	}
	word, said, unknown := provider.Word(challenges, challenge.Status)
	return order.Fact{
		Kind: order.Authentication, Order: t.Order, ProviderReference: provider.Code(chargeID(t)),
		Status: word, ProviderStatus: said,
	}, unknown
}
