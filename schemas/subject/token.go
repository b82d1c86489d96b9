// Package subject names the streams, consumers and subjects, parses subjects, and makes
// subject tokens of ids from outside. It is pure.
package subject

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxToken is how many bytes a subject token may have; a longer id is hashed.
const MaxToken = 128

// minKey is the shortest hash key that Keyed accepts, in bytes.
const minKey = 16

// Tokens turns ids from outside into subject tokens. Ids that may be personal
// data are hashed with the key. The key is part of every guard's subject, so
// it must never change for a deployment.
type Tokens struct{ key []byte }

// Keyed returns the Tokens of a deployment. It refuses a key shorter than 16
// bytes, which could be guessed.
func Keyed(key string) (Tokens, error) {
	if len(key) < minKey {
		return Tokens{}, errors.New("the key for hashed ids has fewer than 16 bytes; use 32 random ones and never change them")
	}
	return Tokens{key: []byte(key)}, nil
}

// Format prints *** for every verb: the key is a secret.
func (Tokens) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte("***")) // A State has nowhere to report a failure to.
}

// Token returns the subject token of id: the id itself with
// every byte outside [A-Za-z0-9_-] percent-encoded, or "~" and a keyed hash
// when the id looks like personal data or would be longer than MaxToken.
func (t Tokens) Token(id string) string {
	if Personal(id) {
		return "~" + t.Hash(id)
	}
	if encoded := encode(id); len(encoded) <= MaxToken {
		return encoded
	}
	return "~" + t.Hash(id)
}

// Hash returns the keyed hash of id: 40 lower-case hex digits.
func (t Tokens) Hash(id string) string {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte(id))
	return hex.EncodeToString(mac.Sum(nil)[:20])
}

// MaxID is how many bytes an id may have. The longest that a provider
// documents has 36. Each id is stored in several documents and sent in a URL,
// so that its size is what a forged webhook costs.
const MaxID = 256

// CheckID says why id cannot name a payment or an order, or nil. An id must
// not be empty, not be a path step, not exceed MaxID, and be valid UTF-8;
// everything else is a merchant's free choice.
func CheckID(id string) error {
	switch {
	case len(id) > MaxID:
		return fmt.Errorf("id has more than %d bytes", MaxID)
	case id == "":
		return errors.New("id is empty")
	case id == "." || id == "..":
		return errors.New("id is a path step")
	case !utf8.ValidString(id):
		return errors.New("id is not valid UTF-8")
	}
	return nil
}

func encode(id string) string {
	clean := true
	for i := 0; i < len(id) && clean; i++ {
		clean = plain(id[i])
	}
	if clean {
		return id
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(id) && b.Len() <= MaxToken; i++ {
		if c := id[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// Shown returns id as it may appear in a header or a log line: the id
// itself, or its token when it may be personal data or is longer than MaxID.
func (t Tokens) Shown(id string) string {
	if Personal(id) || len(id) > MaxID {
		return t.Token(id)
	}
	return id
}

// IsToken reports whether text can be a token that Token has made, so that it may be put into
// a subject: it has no dot, blank or wildcard, and is not longer than MaxToken.
func IsToken(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; !plain(c) && c != '%' && c != '~' {
			return false
		}
	}
	return text != "" && len(text) <= MaxToken
}
