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

// currencies are all of Mercado Pago (schemas/common.yaml, CurrencyId and Money). Its
// amounts have the decimals of ISO 4217: none for CLP and PYG.
var currencies = []string{"ARS", "BOB", "BRL", "CLP", "COP", "CRC", "DOP", "GTQ", "HNL", "MXN", "NIO", "PEN", "PYG", "USD", "UYU", "VES"}
