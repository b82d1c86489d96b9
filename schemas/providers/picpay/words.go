package picpay

import "arauto/schemas/order"

// words is the union of what PicPay's current specification, its legacy one
// and its guides name, because they contradict each other.
var words = map[string]order.Status{
	"created":    order.Pending,
	"pending":    order.Pending, // In the prose of a guide, for created.
	"analysis":   order.InAnalysis,
	"authorized": order.Authorized,
	"paid":       order.Paid,
	"captured":   order.Paid, // In a revision of 2022 only.
	"completed":  order.Settled,
	"refunded":   order.Refunded,
	"chargeback": order.ChargedBack,
	"expired":    order.Expired,
}
