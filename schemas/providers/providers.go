// Package providers is the closed list of the payment providers that Arauto
// has. A new provider is one folder and one line here.
package providers

import (
	"arauto/schemas/provider"
	"arauto/schemas/providers/sandbox"
)

// All holds each provider once.
var All = provider.MustSet(
	sandbox.Provider,
)
