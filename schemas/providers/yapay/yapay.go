// Package yapay is Yapay Intermediador, today Vindi Pagamentos. Its
// notification is an unsigned form, so it is a hint only: the status, the
// order and the amounts come from the look-up that Yapay prescribes.
package yapay

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// Provider is Yapay Intermediador.
var Provider = provider.Provider{
	Name:       "yapay",
	Sample:     sample,
	Vocabulary: map[order.Kind]map[string]order.Status{order.Payment: words},
	Unsigned:   "Yapay documents no credential, signature or source address for its notifications",
	Read:       provider.One(read),
	Settings: []provider.Setting{
		{
			Name: "base_url", URL: true, Required: true, Default: "https://api.intermediador.yapay.com.br/api/v3",
			Help: "Yapay's API; documents before 2021-04-07 lack /api",
		},
		{Name: "token_account", Secret: true, Required: true, Help: "the seller's token; it travels in the look-up's query string"},
	},
	Ask:    ask,
	Answer: answer,
	// How Yapay repeats its own notifications ("a cada 12 horas durante 3 dias",
	// notification page of YapayDocsIntermediador).
	RetryOffsets: []time.Duration{12 * time.Hour, 24 * time.Hour, 36 * time.Hour, 48 * time.Hour, 60 * time.Hour, 72 * time.Hour},
}

// maxToken is how many bytes a transaction's token may have. Yapay makes the
// token. Its documents say at most 32 (docs/api-consultar-transacao.md of
// YapayDocsIntermediador: "Texto / 32"), and every token that they or public
// captures show is of letters and digits, not all of them hexadecimal. Twice
// the size is taken, because the seller's token has grown since, from 15 to 20.
const maxToken = 64

// read keeps the transaction's token and the order number. The form has the
// buyer's personal data and, in transaction[seller_token], the credential of
// our own look-ups: neither is kept, and no credential is ever taken from it.
func read(w provider.Webhook) (provider.Notice, error) {
	form, err := provider.DecodeForm(w)
	if err != nil {
		return provider.Notice{}, err
	}
	payment, err := first(form, "token_transaction", "transaction[transaction_token]", "transaction[token_transaction]")
	if err != nil {
		return provider.Notice{}, err
	}
	number, err := first(form, "transaction[order_number]")
	if err != nil {
		number = "" // It is a hint that the look-up does not need.
	}
	if err := provider.CheckNamed("token_transaction", payment, "transaction[order_number]", number); err != nil {
		return provider.Notice{}, err
	}
	if err := provider.CheckForm("token_transaction", payment, maxToken, "-_"); err != nil {
		return provider.Notice{}, err
	}
	return provider.Notice{Kind: order.Payment, Payment: payment, Order: number}, nil
}

// first is the value of the first key that has one. A key with two different
// values names nothing.
func first(form url.Values, keys ...string) (string, error) {
	for _, key := range keys {
		values := slices.Compact(form[key])
		if len(values) > 1 {
			return "", provider.Refuse(provider.RuleKey, key, "%s comes twice", key)
		}
		if len(values) == 1 && values[0] != "" {
			return values[0], nil
		}
	}
	return "", nil
}

// ask uses the call that leaves the customer out of the answer.
func ask(t provider.Target, a provider.Account) (provider.Question, error) {
	query := url.Values{"token_account": {a.Settings["token_account"]}, "token_transaction": {t.Payment}}
	return provider.Get(a, "/transactions/get_by_token_brief?"+query.Encode()), nil
}

func answer(t provider.Target, _ provider.Account, r provider.Reply) (order.Fact, error) {
	tx, err := decode(r)
	if err != nil {
		return order.Fact{}, err
	}
	if tx.Token != "" && string(tx.Token) != t.Payment {
		return order.Fact{}, fmt.Errorf("%w: it is about another transaction", provider.ErrUnreadable)
	}
	value, err := tx.Payment.Fields.PriceOriginal.Cents()
	if err != nil {
		return order.Fact{}, fmt.Errorf("%w: price_original: %w", provider.ErrUnreadable, err)
	}
	back, err := tx.refunds()
	if err != nil {
		return order.Fact{}, err
	}
	word, said, unknown := provider.Word(words, string(tx.StatusID))
	word = back.refine(word, value)
	amount, err := provider.AmountOf("BRL", word, provider.Sums{Captured: value, Refunded: back.sum})
	if err != nil {
		return order.Fact{}, err
	}
	f := order.Fact{
		Kind: order.Payment, ProviderReference: provider.Code(tx.ID.Loose()), Status: word, ProviderStatus: said, Amount: amount,
		Order: cmp.Or(string(tx.OrderNumber), t.Payment), // The form's number is a claim, and not taken in its place.
	}
	if approved, err := wire.Time(string(tx.Payment.Fields.DateApproval)); err == nil && word == order.Paid {
		f.OccurredAt = &approved
	}
	return f, unknown
}
