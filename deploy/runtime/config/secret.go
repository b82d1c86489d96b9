package config

import "fmt"

// redacted is what a secret prints as.
const redacted = "***"

// Secret is a value that never prints itself, whatever the verb or encoder.
// The zero Secret is empty.
type Secret struct {
	// A pointer, because fmt does not call the methods of unexported fields: a
	// Secret inside another struct would print a plain string as it is.
	value *string
}

// NewSecret makes a Secret of value.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the value. Call it where the value is used and nowhere else.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Empty reports whether there is no value.
func (s Secret) Empty() bool { return s.Reveal() == "" }

// Format prints *** for every verb, also those that ignore String.
func (Secret) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte(redacted)) // A State has nowhere to report a failure to.
}

// String returns ***.
func (Secret) String() string { return redacted }

// MarshalText encodes *** for the encoders of JSON, YAML and map keys.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
