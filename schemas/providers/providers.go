// Package providers is the closed list of the payment providers that Arauto
// has. A new provider is one folder and one line here.
package providers

import (
	"arauto/schemas/provider"
	"arauto/schemas/providers/beeteller"
	"arauto/schemas/providers/mercadopago"
	"arauto/schemas/providers/picpay"
	"arauto/schemas/providers/picpaycheckout"
	"arauto/schemas/providers/picpaysubscriptions"
	"arauto/schemas/providers/sandbox"
	"arauto/schemas/providers/yapay"
)

// All holds each provider once.
var All = provider.MustSet(
	sandbox.Provider,
	picpay.Provider,
	picpaycheckout.Provider,
	beeteller.Provider,
	yapay.Provider,
	picpaysubscriptions.Provider,
	mercadopago.Provider,
)
