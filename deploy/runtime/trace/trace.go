// Package trace makes and checks W3C trace contexts, which connect a webhook, or an
// operator's request, with its look-ups and its event.
package trace

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"
)

// Header is the header that carries a trace context, in HTTP and on the streams.
const Header = "traceparent"

// none is the trace id that the standard forbids; half of it is the parent id
// that it forbids.
const none = "00000000000000000000000000000000"

// Valid reports whether text is a trace context. A later version may have
// fields that we cannot pass on unread, so only version 00 counts.
func Valid(text string) bool {
	parts := strings.Split(text, "-")
	return len(parts) == 4 && parts[0] == "00" &&
		lowerHex(parts[1], 32) && lowerHex(parts[2], 16) && lowerHex(parts[3], 2) &&
		parts[1] != none && parts[2] != none[:16]
}

func lowerHex(s string, length int) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return len(s) == length
}

// New starts a sampled trace. Its ids are unique, not secret.
func New() string {
	var id [24]byte
	for i := 0; i < len(id); i += 8 {
		binary.BigEndian.PutUint64(id[i:], rand.Uint64())
	}
	// Neither the trace id nor the parent id may be all zeros.
	id[0] |= 1
	id[16] |= 1
	text := make([]byte, 0, 55)
	text = hex.AppendEncode(append(text, "00-"...), id[:16])
	text = hex.AppendEncode(append(text, '-'), id[16:])
	return string(append(text, "-01"...))
}
