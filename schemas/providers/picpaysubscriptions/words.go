package picpaysubscriptions

import "arauto/schemas/order"

// words are the type of the webhook about a payment, and the states of a subscription. Of
// those, active and pending_cancellation allow PicPay to charge; the latter ends with the
// next renewal.
var words = map[string]order.Status{
	"payment_processed":    order.Paid, // "Quando um pagamento for processado com sucesso".
	"under_analysis":       order.InAnalysis,
	"payment_delayed":      order.Pending,
	"active":               order.Authorized,
	"pending_cancellation": order.Authorized,
	"cancelled":            order.Canceled,
}
