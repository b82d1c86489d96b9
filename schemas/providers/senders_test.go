package providers_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// TestWebhooksAreReadAsSent has webhooks as senders were reported to write them,
// beside what must stay refused, which names "".
func TestWebhooksAreReadAsSent(t *testing.T) {
	t.Parallel()
	const multipart = "multipart/form-data; boundary=x"
	part := func(name, value string) string {
		return "--x\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	for name, c := range map[string]struct{ provider, kind, body, payment string }{
		"A7: a number for an id":              {"picpay", "", `{"referenceId":102030}`, "102030"},
		"A7: a number for VTEX's":             {"picpay", "", `{"paymentId":102030}`, "102030"},
		"A7: of Beeteller":                    {"beeteller", "", `{"order":102030,"reference":7,"status":"PAID"}`, "102030"},
		"A7: of Checkout":                     {"picpay-checkout", "", `{"data":{"merchantChargeId":102030}}`, "102030"},
		"A7: of a 3DS result":                 {"picpay-checkout", "", `{"type":"THREE_DS_CHALLENGE","data":{"chargeId":102030,"merchantChargeId":7}}`, "3ds-102030"},
		"A7: an exponent":                     {"picpay", "", `{"referenceId":1e5}`, ""},
		"A7: a fraction":                      {"picpay", "", `{"referenceId":102030.0}`, ""},
		"A6: without the envelope":            {"picpay-checkout", "", `{"merchantChargeId":"m1","status":"PAID","amount":10000}`, "m1"},
		"A6: a 3DS result without it":         {"picpay-checkout", "", `{"type":"three_ds_challenge","chargeId":"c1"}`, "3ds-c1"},
		"A6: without an id in either":         {"picpay-checkout", "", `{"status":"PAID"}`, ""},
		"A6: beside an empty envelope":        {"picpay-checkout", "", `{"merchantChargeId":"m1","data":{"merchantChargeId":""}}`, ""},
		"A14: Latin-1 that nobody reads":      {"picpay", "", "{\"referenceId\":\"102030\",\"note\":\"Jo\xe3o\"}", "102030"},
		"A14: Latin-1 in the id":              {"picpay", "", "{\"referenceId\":\"Jo\xe3o\"}", ""},
		"A11: a byte order mark":              {"picpay", "", "\xef\xbb\xbf{\"referenceId\":\"102030\"}", "102030"},
		"A11: two of them":                    {"picpay", "", "\xef\xbb\xbf\xef\xbb\xbf{\"referenceId\":\"102030\"}", ""},
		"A11: before a form":                  {"yapay", "", "\xef\xbb\xbftoken_transaction=t", "t"},
		"a type in another case":              {"beeteller", "", `{"order":"o","status":"PAID","type":"reverse_pix"}`, "o"},
		"a form in parts":                     {"yapay", multipart, part("token_transaction", "t") + part("transaction[order_number]", "n") + "--x--\r\n", "t"},
		"parts behind a byte order mark":      {"yapay", multipart, "\xef\xbb\xbf" + part("token_transaction", "t") + "--x--", "t"},
		"parts whose type is wrong":           {"yapay", "application/json", part("token_transaction", "t") + "--x--\r\n", ""},
		"a plain form that says it has parts": {"yapay", multipart, "token_transaction=t", "t"},
		"parts with two tokens":               {"yapay", multipart, part("token_transaction", "t") + part("token_transaction", "u") + "--x--\r\n", ""},
		"parts that are cut":                  {"yapay", multipart, part("token_transaction", "t"), ""},
		"keys that differ":                    {"picpay", "", `{"referenceId":"a","referenceId":"b"}`, ""},
	} {
		p, _ := providers.All.Get(c.provider)
		n, err := p.Read(provider.Webhook{Header: provider.HeaderMap{"content-type": {c.kind}}, Body: []byte(c.body)})
		if err != nil {
			n = []provider.Notice{{}}
		}
		if n[0].Payment != c.payment || (c.payment == "") != errors.Is(err, provider.ErrInvalid) || n[0].Unknown != "" {
			t.Errorf("%s: %q gives %+v, %v", name, c.body, n, err)
		}
	}
}

// TestAnswersAreReadAsSent has answers as providers were reported to write them:
// what each says, or why it cannot be used.
func TestAnswersAreReadAsSent(t *testing.T) {
	t.Parallel()
	charge := func(id, word string) string {
		return `{"merchantChargeId":` + id + `,"id":5,"chargeStatus":"` + word + `","amount":100,"originalAmount":100,"transactions":[[],{"transactionStatus":"pre_authorized"}]}`
	}
	for name, c := range map[string]struct{ provider, body, want string }{
		"A13: PHP's empty summary":      {"picpay", picpaySays(`"status":"created","summary":[]`), "pending"},
		"A13: a full list is none":      {"picpay", picpaySays(`"status":"created","summary":[{"paid":1}]`), "wrong type"},
		"A13: Yapay's empty payment":    {"yapay", strings.Replace(yapaySays(`"status_id":6`), `{"price_original":"142.0"}`, `[]`, 1), "paid"},
		"A13: beside Yapay's success":   {"yapay", strings.Replace(yapaySays(`"status_id":6`), `{"message_response"`, `{"error_response":[],"message_response"`, 1), "paid"},
		"A11: a byte order mark":        {"picpay", "\xef\xbb\xbf" + picpaySays(`"status":"paid"`), "paid"},
		"A14: Latin-1 nobody reads":     {"picpay", picpaySays("\"status\":\"paid\",\"note\":\"Jo\xe3o\""), "paid"},
		"a word in capitals":            {"picpay", picpaySays(`"status":"PAID"`), "paid"},
		"an unknown word":               {"picpay", picpaySays(`"status":"PAID_OUT"`), `"PAID_OUT"`},
		"a word in small letters":       {"picpay-checkout", charge(`"p"`, "Paid"), "paid"},
		"a hold in small letters":       {"picpay-checkout", charge(`"p"`, "preauthorized"), "authorized"},
		"an amount in letters":          {"picpay", picpaySays(`"status":"paid","summary":{"paid":"much"}`), "decimal"},
		"an amount that is a list":      {"picpay", picpaySays(`"status":"paid","summary":{"paid":[]}`), "wrong type"},
		"a payment that is a fraction":  {"picpay-checkout", charge(`1.0`, "PAID"), "wrong type"},
		"a success in another case":     {"yapay", strings.Replace(yapaySays(`"status_id":"6"`), `"success"`, `"Success"`, 1), "paid"},
		"a number for another payment":  {"sandbox", `{"payment":7,"status":"paid"}`, "another payment"},
		"PHP's nothing for an answer":   {"sandbox", `[]`, "not a JSON object"},
		"a word of Beeteller's look-up": {"beeteller", `{"order":"p","status":"Rejected","reference":4711}`, "refused"},
	} {
		p, _ := providers.All.Get(c.provider)
		account := provider.Account{Settings: map[string]string{}}
		for _, s := range p.Settings {
			account.Settings[s.Name] = s.Default
		}
		kind := order.Payment
		if _, ok := p.Vocabulary[kind]; !ok {
			kind = order.Payout
		}
		f, err := p.Answer(provider.Target{Kind: kind, Payment: "p", Order: "p"}, account, provider.Reply{Status: http.StatusOK, Body: []byte(c.body)})
		if got := fmt.Sprint(f.Status, err); !strings.Contains(got, c.want) || (err == nil) != (string(f.Status) == c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
