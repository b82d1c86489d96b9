package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Signature is an HMAC-SHA256 that a provider makes of parts of its webhook and of a
// timestamp, and sends in one header as name=value pairs with commas between them, such as
// "ts=1742505638683,v1=9e107d9d". No signature is remembered: a redelivery may be an exact
// copy, and its answer must be 200.
type Signature struct {
	Header    string        // Lower case.
	Timestamp string        // Name of the pair with the timestamp; "" where none is sent.
	Sum       string        // Name of the pair with the sum, in hexadecimal. It may come more than once.
	Tolerance time.Duration // Between timestamp and arrival, in both directions.

	// Message is what the sum is made of. timestamp is as it was sent.
	Message func(w Webhook, timestamp string) string
}

// maxSums is how many sums of one header are compared: more than a provider sends while it
// changes its secret.
const maxSums = 4

// Verify is a Provider's Verify. It compares every sum with every secret in constant time,
// and looks at the timestamp only of a webhook whose sum is right.
func (s Signature) Verify(w Webhook, secrets []string) (which int, err error) {
	defer func() { err = named(s.Header, err) }()
	header, err := only(w.Header.Values(s.Header), "")
	if err != nil {
		return 0, err
	}
	timestamp, sums := s.parts(header)
	which, found := 0, false
	for i, secret := range secrets {
		want := s.sum(w, timestamp, secret)
		for _, sum := range sums {
			if hmac.Equal(sum, want) && secret != "" && !found {
				which, found = i, true
			}
		}
	}
	switch {
	case !found:
		return 0, ErrBadCredential
	case s.Timestamp != "" && !s.near(timestamp, w.At):
		return 0, &Refusal{Rule: RuleTimestamp, Err: fmt.Errorf("%w: its timestamp is %s or more from its arrival", ErrBadCredential, s.Tolerance)}
	}
	return which, nil
}

// Sign returns the header's value for a webhook, as the provider makes it. Samples need
// it.
func (s Signature) Sign(w Webhook, timestamp, secret string) string {
	value := s.Sum + "=" + hex.EncodeToString(s.sum(w, timestamp, secret))
	if s.Timestamp != "" {
		value = s.Timestamp + "=" + timestamp + "," + value
	}
	return value
}

func (s Signature) sum(w Webhook, timestamp, secret string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(s.Message(w, timestamp)))
	return mac.Sum(nil)
}

// parts reads the pairs of a header. A header with two timestamps has none: two parties
// could disagree on which one counts.
func (s Signature) parts(header string) (timestamp string, sums [][]byte) {
	timestamps := 0
	for pair := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		switch {
		case name == s.Timestamp && s.Timestamp != "":
			timestamp = value
			timestamps++
		case name == s.Sum && len(sums) < maxSums:
			if sum, err := hex.DecodeString(value); err == nil {
				sums = append(sums, sum)
			}
		}
	}
	if s.Timestamp != "" && (timestamps != 1 || timestamp == "") {
		return "", nil
	}
	return timestamp, sums
}

// milliseconds is where timestamps are no longer seconds: as seconds it is the year 5138,
// as milliseconds 1973.
const milliseconds = 100_000_000_000

// near reports whether a timestamp, in seconds or milliseconds since 1970, is less than
// the tolerance away from at.
func (s Signature) near(timestamp string, at time.Time) bool {
	n, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || n < 0 {
		return false
	}
	then := time.Unix(n, 0)
	if n >= milliseconds {
		then = time.UnixMilli(n)
	}
	return at.Sub(then).Abs() < s.Tolerance
}
