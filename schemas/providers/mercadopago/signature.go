package mercadopago

import (
	"errors"
	"slices"
	"strings"
	"time"

	"arauto/schemas/provider"
)

// dataID is the query parameter with the id of what a notification is about.
const dataID = "data.id"

// redelivery is how long Mercado Pago sends a notification again: up to 96 hours after the
// first ("After receiving the notification", mercadopago.com.pe, IPN of WooCommerce; the
// page for webhooks gives no end). tolerance is as long as all delays of that table one
// after the other (15 min, 30 min, 6 h, 48 h and 96 h), for that is how it may be meant too,
// and a redelivery may carry its first timestamp.
const (
	redelivery = 96 * time.Hour
	tolerance  = 7 * 24 * time.Hour
)

// asSent and inLowerCase differ in the case of data.id. The documents say that an
// alphanumeric one is signed in lower case, and Mercado Pago's own libraries sign it as it
// is sent (mercadopago/sdk-nodejs pull 439). Payments have digits, where both are the same.
//
// ts is in seconds in the documents and in milliseconds in practice
// (mercadopago/sdk-nodejs issue 458); provider.Signature takes either.
var (
	asSent      = signature(func(id string) string { return id })
	inLowerCase = signature(strings.ToLower)
)

func signature(spell func(id string) string) provider.Signature {
	return provider.Signature{
		Header: "x-signature", Timestamp: "ts", Sum: "v1", Tolerance: tolerance,
		Message: func(w provider.Webhook, timestamp string) string { return manifest(w, spell, timestamp) },
	}
}

// manifest is what the signature covers. Parts that are absent are left out.
func manifest(w provider.Webhook, spell func(id string) string, timestamp string) string {
	var b strings.Builder
	if id := w.Query.Get(dataID); id != "" {
		b.WriteString("id:" + spell(id) + ";")
	}
	if ids := w.Header.Values("x-request-id"); len(ids) > 0 && ids[0] != "" {
		b.WriteString("request-id:" + ids[0] + ";")
	}
	return b.String() + "ts:" + timestamp + ";"
}

func verify(w provider.Webhook, secrets []string) (int, error) {
	which, err := asSent.Verify(w, secrets)
	if errors.Is(err, provider.ErrBadCredential) && provider.RefusalOf(err).Rule == provider.RuleCredential {
		which, err = inLowerCase.Verify(w, secrets)
	}
	if err == nil && (differ(w.Query[dataID]) || differ(w.Header.Values("x-request-id"))) {
		return 0, provider.ErrBadCredential // Only the first is covered.
	}
	return which, err
}

// differ reports whether there are two values that are not the same.
func differ(values []string) bool { return len(slices.Compact(slices.Clone(values))) > 1 }
