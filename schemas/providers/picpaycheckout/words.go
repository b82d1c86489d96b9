package picpaycheckout

import "arauto/schemas/order"

// charges are the words of a charge. The look-up's documented enum lacks
// CREATED, AUTHORIZED, CAPTURED, EXPIRED, CANCELLED and PreAuthorized, which
// webhooks and PicPay's own plug-ins use. Whether a pre-authorized charge is
// authorized or still waits for the payer, its transactions say.
var charges = map[string]order.Status{
	"CREATED":        order.Pending,
	"PRE_AUTHORIZED": order.Pending,
	"PreAuthorized":  order.Pending,
	"AUTHORIZED":     order.Authorized,
	"PAID":           order.Paid,
	"CAPTURED":       order.Paid,
	"PARTIAL":        order.PartiallyRefunded,
	"REFUNDED":       order.Refunded,
	"CHARGEBACK":     order.ChargedBack,
	"EXPIRED":        order.Expired,
	"CANCELED":       order.Canceled,
	"CANCELLED":      order.Canceled,
	"DENIED":         order.Refused,
	"ERROR":          order.Failed,
}

// challenges are the words of a 3DS authentication: those of the status
// endpoint in upper case, those of webhooks and the enrollment in mixed case.
var challenges = map[string]order.Status{
	"CREATED":       order.Pending,
	"Challenged":    order.Pending,
	"AUTHENTICATED": order.Authenticated,
	"Approved":      order.Authenticated,
	"REJECTED":      order.NotAuthenticated,
	"FAILED":        order.NotAuthenticated,
	"Rejected":      order.NotAuthenticated,
}
