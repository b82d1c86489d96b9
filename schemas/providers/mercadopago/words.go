package mercadopago

import "arauto/schemas/order"

// words are the statuses of a payment (schemas/payments.yaml). The page "Get payment
// status" spells cancelled with one l in its newer copies.
var words = map[string]order.Status{
	"pending":      order.Pending,
	"in_process":   order.InAnalysis, // "Under review".
	"authorized":   order.Authorized,
	"approved":     order.Paid,
	"in_mediation": order.Disputed,
	"rejected":     order.Refused,
	"cancelled":    order.Canceled,
	"canceled":     order.Canceled,
	"refunded":     order.Refunded,
	"charged_back": order.ChargedBack,
}

// refine adds what the status alone does not tell ("Get payment status"): a cancellation
// may be an expiry, and a chargeback under way or decided for the merchant.
func refine(word order.Status, detail string) order.Status {
	switch {
	case word == order.Canceled && detail == "expired":
		return order.Expired
	case word == order.ChargedBack && detail == "in_process":
		return order.Disputed
	case word == order.ChargedBack && detail == "reimbursed":
		return order.Paid
	}
	return word
}

// digits are the decimals of the currencies that Mercado Pago has (schemas/common.yaml,
// CurrencyId and Money: none for CLP; by ISO 4217 PYG has none either).
var digits = map[string]int32{
	"ARS": 2, "BOB": 2, "BRL": 2, "CLP": 0, "COP": 2, "CRC": 2, "DOP": 2, "GTQ": 2,
	"HNL": 2, "MXN": 2, "NIO": 2, "PEN": 2, "PYG": 0, "USD": 2, "UYU": 2, "VES": 2,
}
