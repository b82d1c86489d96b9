package beeteller

import "arauto/schemas/order"

// words are the payout's. Beeteller's status table says REFUSED where its
// samples say REJECTED; both mean the same.
var words = map[string]order.Status{
	"INITIALIZED": order.Pending,
	"PROCESSING":  order.Processing,
	"PAID":        order.Paid,
	"REFUSED":     order.Refused,
	"REJECTED":    order.Refused,
	"EXPIRED":     order.Expired,
}
