package yapay

import (
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

var sample = provider.Sample{
	About:      "Yapay Intermediador, today Vindi Pagamentos.",
	Secret:     "yapay-local-key",
	Settings:   map[string]string{"base_url": "{url}", "token_account": "yapay-lookup-token"},
	Currency:   "BRL",
	Redelivery: 72 * time.Hour,
	Token:      provider.SampleToken{Setting: "token_account", Query: "token_account"},
	Refusal:    sampleRefusal,
	Webhook:    sampleWebhook,
	Units: []provider.SampleUnit{{
		Name: "payments", Kind: order.Payment, Opening: "4", Numbers: true,
		LookUp:  "transactions/get_by_token_brief?token_transaction={id}",
		Missing: http.StatusNotFound, Answer: sampleAnswer,
		Stories: [][]provider.Step{
			{{Word: "4", Status: order.Pending}, {Word: "6", Status: order.Paid}, {Word: "24", Status: order.Disputed}, {Word: "6", Status: order.Paid}},
			{
				{Word: "4", Status: order.Pending}, {Word: "87", Status: order.InAnalysis}, {Word: "6", Status: order.Paid},
				{Word: "24", Status: order.Disputed}, {Word: "7", Status: order.Canceled},
			},
			{{Word: "4", Status: order.Pending}, {Word: "7", Status: order.Canceled}, {Word: "6", Status: order.Paid}}, // A correction.
		},
	}},
}

// sampleNames are the status names of Yapay's tables.
var sampleNames = map[string]string{
	"4": "Aguardando Pagamento", "5": "Em Processamento", "6": "Aprovada", "7": "Cancelada",
	"24": "Em Contestação", "87": "Em Monitoramento", "88": "Em Recuperação", "89": "Reprovada",
	"184": "Aguardando confirmação",
}

// samplePaid reports whether the payer has paid: approved, contested or cancelled, which is
// also what a refund leads to.
func samplePaid(s provider.State) bool { return s.Status == "6" || s.Status == "7" || s.Status == "24" }

// sampleNumber is the transaction id that goes with a reference.
func sampleNumber(s provider.State) int64 {
	raw, err := hex.DecodeString(s.Reference)
	if err != nil || len(raw) < 4 {
		return 1
	}
	return int64(raw[0])<<24 | int64(raw[1])<<16 | int64(raw[2])<<8 | int64(raw[3])
}

func samplePage(s provider.State) string {
	return "https://intermediador-sandbox.yapay.com.br/orders/show/" + s.Reference
}

// object is a JSON object whose fields have no order.
type object = map[string]any

// sampleAnswer is the brief form, without the customer. Ids and split are numbers here and
// text in the webhook; prices are text but for a refund's value; dates are Unix seconds.
func sampleAnswer(s provider.State) any {
	var paid *int64
	if samplePaid(s) {
		at := s.Since.Unix()
		paid = &at
	}
	return object{
		"message_response": object{"message": "success"},
		"data_response": object{"transaction": object{
			"order_number": s.Order, "transaction_id": sampleNumber(s),
			"status_name": sampleNames[s.Status], "status_id": json.Number(s.Status), "token_transaction": s.ID,
			"payment": object{
				"price_original": provider.Decimal(s.Amount, 1), "price_payment": provider.Decimal(s.Amount, 1), "payment_response": nil,
				"url_payment": samplePage(s), "tid": "00000642891", "split": 1, "payment_method_id": 27, "payment_method_name": "Pix",
				"linha_digitavel": nil, "date_payment": paid, "date_approval": paid,
			},
			"refunds": sampleRefunds(s),
		}},
	}
}

// sampleRefunds lists what was given back as one finished refund, of kind full when nothing
// is left.
func sampleRefunds(s provider.State) []object {
	if s.Refunded == 0 {
		return []object{}
	}
	kind, name := 52, "refund_kind_partial"
	if s.Refunded >= s.Amount {
		kind, name = 53, "refund_kind_full"
	}
	return []object{{
		"id": sampleNumber(s) + 1, "value": json.Number(provider.Decimal(s.Refunded, 1)), "observation": "Cancelamento",
		"status_id": 157, "status_name": "Finalizado", "refund_kind_id": kind, "refund_kind_name": name,
		"refund_method_id": 54, "refund_method_name": "refund_method_withdraw", "created_at": s.Changed.Unix(),
	}}
}

// sampleRefusal has the documented codes of an unknown account and an unknown transaction.
// The HTTP status of the former is not documented.
func sampleRefusal(status int) any {
	code, message := "000000", "Erro interno"
	switch status {
	case http.StatusUnauthorized:
		code, message = "001001", "Token inválido ou não encontrado"
	case http.StatusNotFound:
		code, message = "003005", "Transação inválida ou inexistente"
	}
	return object{
		"message_response": object{"message": "error"},
		"error_response":   object{"general_errors": []object{{"code": code, "message": message}}},
	}
}

// sampleForm is the status notification, in the order and the formats of a captured one
// (src/webhooks.rs of saskenuba/yapay-sdk-rust, 3116975), with made-up people. The CPF is the
// usual example of a valid one, and the seller's tokens are the credential of the look-up:
// the trap is Yapay's. Keys of products repeat, and only their order tells which belong
// together.
//
//go:embed sample.form
var sampleForm string

// sampleWebhook writes keys as they stand, with literal brackets and repeats, and spaces in
// values as %20.
func sampleWebhook(s provider.State) provider.Webhook {
	const clock = "2006-01-02T15:04:05" // Brazilian, without an offset.
	values := map[string]string{
		"{id}": s.ID, "{order}": s.Order, "{number}": strconv.FormatInt(sampleNumber(s), 10), "{status}": s.Status, "{name}": sampleNames[s.Status],
		"{created}": provider.Brazilian(s.Created).Format(clock), "{amount}": provider.Decimal(s.Amount, 1), "{page}": samplePage(s),
		"{token}": provider.OfAccount(s.Account, "yapay-lookup-token"),
	}
	if since := provider.Brazilian(s.Since); samplePaid(s) {
		values["{paid}"], values["{approval}"], values["{day}"] = since.Format(clock), since.Format("02/01/2006 - 15:04:05"), since.Format("02/01/2006")
	}
	var pairs []string
	for line := range strings.SplitSeq(strings.TrimSpace(sampleForm), "\n") {
		key, value, _ := strings.Cut(line, "=")
		if strings.HasPrefix(value, "{") {
			value = values[value]
		}
		pairs = append(pairs, key+"="+strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
	}
	return provider.Webhook{
		Header: provider.HeaderMap{"content-type": {"application/x-www-form-urlencoded"}}, Body: []byte(strings.Join(pairs, "&")),
	}
}
