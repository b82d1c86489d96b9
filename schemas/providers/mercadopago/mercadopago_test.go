package mercadopago_test

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers/mercadopago"
)

func FuzzRead(f *testing.F) {
	providertest.FuzzRead(f, mercadopago.Provider, providertest.Dir("testdata"))
}

func FuzzVerify(f *testing.F) {
	providertest.FuzzVerify(f, mercadopago.Provider, providertest.Dir("testdata"))
}

func FuzzAnswer(f *testing.F) {
	providertest.FuzzAnswer(f, mercadopago.Provider, providertest.Dir("testdata"))
}

func TestWordsMeanWhatTheDocumentsSay(t *testing.T) {
	t.Parallel()
	providertest.Words(t, mercadopago.Provider, order.Payment, map[order.Status]string{
		order.Pending: "pending", order.InAnalysis: "in_process", order.Authorized: "authorized", order.Paid: "approved",
		order.Disputed: "in_mediation", order.Refused: "rejected", order.Canceled: "cancelled canceled",
		order.Refunded: "refunded", order.ChargedBack: "charged_back",
	})
}

// The sums were computed apart from this code, with openssl dgst -sha256 -hmac secret.
func TestManifestIsSignedAsDocumented(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		id, request, ts, sum string
		fits                 bool
	}{
		"all parts":              {"1234567890", "f7b2a1d4", "1704908010", "bfeed2f7050792e3592b094fdaec3863b90682aa6a0e6f2b6daa96756a728c5c", true},
		"milliseconds":           {"1234567890", "f7b2a1d4", "1704908010000", "e6fc5ac1cd0864091cc28e77a517da367a7d4d7eee6fa2659c6cba2856c82288", true},
		"without a request id":   {"1234567890", "", "1704908010", "b031cf5fdcc8ca9ab4036c142dfe350b790bfd3a8577cffc52a33c113b14a013", true},
		"letters as sent":        {"ORD01", "f7b2a1d4", "1704908010", "e02de617409a8f3f46bf8002e6b752eb96fc9dbc1504c4b7730f66b0c26bcb3f", true},
		"letters in lower case":  {"ORD01", "f7b2a1d4", "1704908010", "14baed01df6871c77d397145fa2820feca3d1a1eb75d8646dd32880b7756ed23", true},
		"another id":             {"1234567891", "f7b2a1d4", "1704908010", "bfeed2f7050792e3592b094fdaec3863b90682aa6a0e6f2b6daa96756a728c5c", false},
		"another request":        {"1234567890", "f7b2a1d5", "1704908010", "bfeed2f7050792e3592b094fdaec3863b90682aa6a0e6f2b6daa96756a728c5c", false},
		"another time":           {"1234567890", "f7b2a1d4", "1704908011", "bfeed2f7050792e3592b094fdaec3863b90682aa6a0e6f2b6daa96756a728c5c", false},
		"lower case for letters": {"ord01", "f7b2a1d4", "1704908010", "e02de617409a8f3f46bf8002e6b752eb96fc9dbc1504c4b7730f66b0c26bcb3f", false},
	} {
		w := provider.Webhook{
			Query: url.Values{"data.id": {c.id}}, At: time.Unix(1704908010, 0).Add(96 * time.Hour),
			Header: provider.HeaderMap{"x-signature": {"ts=" + c.ts + ",v1=" + c.sum}},
		}
		if c.request != "" {
			w.Header.(provider.HeaderMap)["x-request-id"] = []string{c.request}
		}
		if _, err := mercadopago.Provider.Verify(w, []string{"secret"}); (err == nil) != c.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of two request ids, two parties could disagree on which one is signed.
func TestRequestIDsMustBeTheSame(t *testing.T) {
	t.Parallel()
	for fits, ids := range map[bool][]string{true: {"f7b2a1d4", "f7b2a1d4"}, false: {"f7b2a1d4", "x"}} {
		w := provider.Webhook{
			Query: url.Values{"data.id": {"1234567890"}}, At: time.Unix(1704908010, 0),
			Header: provider.HeaderMap{
				"x-signature":  {"ts=1704908010,v1=bfeed2f7050792e3592b094fdaec3863b90682aa6a0e6f2b6daa96756a728c5c"},
				"x-request-id": ids,
			},
		}
		if _, err := mercadopago.Provider.Verify(w, []string{"secret"}); (err == nil) != fits {
			t.Errorf("the ids %q give %v", ids, err)
		}
	}
}

func TestBodyNamesNoPayment(t *testing.T) {
	t.Parallel()
	w := provider.Webhook{Query: url.Values{"data.id": {"1"}}, Body: []byte(`{"type":"payment","data":{"id":"2"}}`)}
	if n, err := mercadopago.Provider.Notices(w); err != nil || n[0].Payment != "1" {
		t.Errorf("it is read as %+v, %v", n, err)
	}
	for _, query := range []url.Values{nil, {"data.id": {""}}, {"data.id": {"1", "2"}}} {
		w.Query = query
		if n, err := mercadopago.Provider.Notices(w); !errors.Is(err, provider.ErrInvalid) {
			t.Errorf("with the query %v it is read as %+v, %v", query, n, err)
		}
	}
}

func TestAnswersAreReadAsDocumented(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ fields, want string }{
		"no decimals in Chile":       {`"status":"approved","currency_id":"CLP","transaction_amount":1500,"transaction_amount_refunded":500`, "partially_refunded CLP 500/1500"},
		"a fraction in Chile":        {`"status":"approved","currency_id":"CLP","transaction_amount":1500.5`, "fraction"},
		"another currency":           {`"status":"approved","currency_id":"EUR","transaction_amount":1`, "currency"},
		"an unknown word, no money":  {`"status":"on_hold","currency_id":"EUR","transaction_amount":1`, `"on_hold"`},
		"a hold has no amount":       {`"status":"authorized","currency_id":"BRL","transaction_amount":100`, "authorized"},
		"nor has what waits for it":  {`"status":"in_process","captured":false,"currency_id":"BRL","transaction_amount":100`, "in_analysis"},
		"captured in part":           {`"status":"approved","currency_id":"BRL","transaction_amount":60`, "paid BRL 0/6000"},
		"a negative refund":          {`"status":"approved","currency_id":"BRL","transaction_amount":1,"transaction_amount_refunded":-1`, "negative"},
		"a chargeback that was won":  {`"status":"charged_back","status_detail":"reimbursed"`, "paid"},
		"a chargeback under way":     {`"status":"charged_back","status_detail":"in_process"`, "disputed"},
		"a boleto that has expired":  {`"status":"cancelled","status_detail":"expired"`, "expired"},
		"a payment of somebody else": {`"status":"approved","id":2`, "twice"},
	} {
		reply := provider.Reply{Status: http.StatusOK, Body: []byte(`{"id":1,` + c.fields + `}`)}
		f, err := mercadopago.Provider.Answer(provider.Target{Kind: order.Payment, Payment: "1"}, provider.Account{}, reply)
		got := string(f.Status)
		if f.Amount != nil {
			got += " " + f.Amount.Currency + " " + strconv.FormatInt(f.Amount.Refunded, 10) + "/" + strconv.FormatInt(f.Amount.Value, 10)
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	other := provider.Reply{Status: http.StatusOK, Body: []byte(`{"id":2,"status":"approved"}`)}
	if f, err := mercadopago.Provider.Answer(provider.Target{Kind: order.Payment, Payment: "1"}, provider.Account{}, other); !errors.Is(err, provider.ErrUnreadable) {
		t.Errorf("another payment's answer is %+v, %v", f, err)
	}
}
