// Package deploy has what programs read of this folder.
package deploy

import _ "embed" // For NATSConf.

// NATSConf is nats.conf as it is shipped, by which the operator's command knows what each user
// of the broker is granted.
//
//go:embed nats.conf
var NATSConf string
