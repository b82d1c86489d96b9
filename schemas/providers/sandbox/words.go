package sandbox

import "arauto/schemas/order"

// words are our own.
var words = map[string]order.Status{
	"pending":            order.Pending,
	"processing":         order.Processing,
	"in_analysis":        order.InAnalysis,
	"authorized":         order.Authorized,
	"paid":               order.Paid,
	"settled":            order.Settled,
	"partially_refunded": order.PartiallyRefunded,
	"refunded":           order.Refunded,
	"disputed":           order.Disputed,
	"charged_back":       order.ChargedBack,
	"expired":            order.Expired,
	"canceled":           order.Canceled,
	"refused":            order.Refused,
	"failed":             order.Failed,
}
