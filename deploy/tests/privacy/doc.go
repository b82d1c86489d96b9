// Package privacy plants personal data and secrets in everything that a deployment reads,
// and looks for them in everything that it keeps, shows and logs.
package privacy
