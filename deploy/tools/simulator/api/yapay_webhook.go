package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// field is one pair of the form; their order is part of what Yapay sends.
type field struct{ key, value string }

// yapayWebhook is the status notification, in the order and the formats of a
// captured one. It carries no credential that would prove its sender.
func yapayWebhook(base *url.URL, k key, p payment, _ time.Time) (*http.Request, error) {
	var fields []field
	fields = append(fields, yapayHead(k, p)...)
	fields = append(fields, yapayProducts()...)
	fields = append(fields, yapayPeople(k)...)
	fields = append(fields, yapayMoney(p)...)
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, unsigned(base, k), strings.NewReader(encodeForm(fields)))
	if err != nil {
		return nil, errors.New("address is unusable")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r, nil
}

// encodeForm writes keys as they stand, with literal brackets and repeats,
// and spaces in values as %20, as the captured form has them.
func encodeForm(fields []field) string {
	pairs := make([]string, len(fields))
	for i, f := range fields {
		pairs[i] = f.key + "=" + strings.ReplaceAll(url.QueryEscape(f.value), "+", "%20")
	}
	return strings.Join(pairs, "&")
}

// wallClock is a time as Yapay writes it: Brazilian, without an offset.
func wallClock(t time.Time, layout string) string {
	return t.In(time.FixedZone("", -3*60*60)).Format(layout)
}

func yapayHead(k key, p payment) []field {
	const layout = "2006-01-02T15:04:05"
	paid := ""
	if yapayPaid(p.Status) {
		paid = wallClock(p.Since, layout)
	}
	return []field{
		{"token_transaction", k.ID},
		{"transaction[order_number]", p.Order},
		{"transaction[free]", ""},
		{"transaction[transaction_id]", strconv.FormatInt(yapayNumber(p.Reference), 10)},
		{"transaction[status_id]", p.Status},
		{"transaction[status_name]", yapayNames[p.Status]},
		{"transaction[date_transaction]", wallClock(p.Created, layout)},
		{"transaction[date_payment]", paid},
		{"transaction[price_original]", decimal(p.Amount, 1)},
		{"transaction[price_payment]", decimal(p.Amount, 1)},
		{"transaction[price_seller]", decimal(p.Amount, 1)},
		{"transaction[price_additional]", "0.0"},
		{"transaction[price_discount]", "0.0"},
		{"transaction[shipping_price]", "0"},
		{"transaction[shipping_type]", ""},
		{"transaction[split]", "1"},
		{"transaction[payment_method_id]", "27"},
		{"transaction[payment_method_name]", "Pix"},
		// Equal to the look-up credential: the trap is theirs.
		{"transaction[seller_token]", secretOf(k.Account, "yapay-lookup-token")},
		{"transaction[transaction_token]", k.ID},
		{"transaction[token_transaction]", k.ID},
	}
}

// yapayProducts are two, so that the keys with the empty index repeat and
// only their order tells which belong together.
func yapayProducts() []field {
	const product = "transaction[products][]"
	return []field{
		{product + "[code]", "1"}, {product + "[description]", "Camiseta 100% algodão"}, {product + "[extra]", ""},
		{product + "[price_unit]", "60.0"}, {product + "[quantity]", "1.0"},
		{product + "[code]", "2"}, {product + "[description]", "Meia & cia"}, {product + "[extra]", "Tamanho G"},
		{product + "[price_unit]", "20.0"}, {product + "[quantity]", "2.0"},
	}
}

// yapayPeople are made up. The CPF is the usual example of a valid one.
func yapayPeople(k key) []field {
	const customer, company = "transaction[customer]", "transaction[company]"
	return []field{
		{customer + "[name]", "Pessoa da Silva"}, {customer + "[cpf]", "12345678909"}, {customer + "[cnpj]", ""},
		{customer + "[email]", "pessoa.silva@example.com"}, {customer + "[token]", "0123456789abcde"},
		{company + "[name]", "Loja de Exemplo"}, {company + "[cnpj]", "11222333000181"}, {company + "[cpf]", ""},
		{company + "[contact]", "(11) 99999-0000"}, {company + "[url]", "https://loja.example.com"},
		{company + "[token]", secretOf(k.Account, "yapay-lookup-token")},
		{customer + "[address][street]", "Rua das Acácias"}, {customer + "[address][number]", "12"},
		{customer + "[address][neighborhood]", "Centro"}, {customer + "[address][postal_code]", "01001000"},
		{customer + "[address][completion]", ""}, {customer + "[address][city]", "São Paulo"},
		{customer + "[address][state]", "SP"},
	}
}

// yapayMoney has the misspelt key that the real form has, and its own two
// date formats.
func yapayMoney(p payment) []field {
	const pay = "transaction[payment]"
	approval, date := "", ""
	if yapayPaid(p.Status) {
		approval, date = wallClock(p.Since, "02/01/2006 - 15:04:05"), wallClock(p.Since, "02/01/2006")
	}
	return []field{
		{pay + "[payment_response]", ""}, {pay + "[payment_response_code]", ""},
		{pay + "[price_payment]", decimal(p.Amount, 1)},
		{pay + "[url_payment]", "https://intermediador-sandbox.yapay.com.br/orders/show/" + p.Reference},
		{pay + "[selling_message]", ""}, {pay + "[number_of_voucher_sales]", ""},
		{pay + "[payment_method_id]", "27"}, {pay + "[payment_method_name]", "Pix"},
		{pay + "[card_id]", ""}, {pay + "[number_proccess]", ""}, {pay + "[split]", "1"},
		{pay + "[date_approval]", approval}, {pay + "[date_payment]", date},
	}
}
