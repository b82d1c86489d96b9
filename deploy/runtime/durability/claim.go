// Package durability says what a 200 of the gateway survives, by what is observed of the
// broker and not by what is configured. Judge is a pure function from facts to a verdict; a
// Reader reads the facts; a Watcher compares the verdict with what the configuration
// claims.
package durability

import (
	"errors"
	"slices"
	"strings"
)

// Claim is a set of losses that a notification survives after it was answered with 200. It
// is a set and not a scale: three replicas that sync lazily and one server that syncs
// always each survive a loss that the other does not.
type Claim uint8

const (
	// ProcessKill is the end of any process at any instruction, the broker's
	// among them. Everything else implies it.
	ProcessKill Claim = 1 << iota
	// PowerLoss is a power cut, even of all machines at once.
	PowerLoss
	// NodeLoss is the loss of one machine together with its disk.
	NodeLoss
)

// everything is the claim that is lost by a setting which may lose a notification even
// without any failure.
const everything = ProcessKill | PowerLoss | NodeLoss

// words are how the configuration and people name the losses, from the lowest bit.
var words = []string{"process-kill", "power-loss", "node-loss"}

// none is the empty claim in words.
const none = "none"

// Parse reads a claim: process-kill, power-loss, node-loss, or the last two
// with a comma between them. "" claims nothing. The error says what to write.
func Parse(text string) (Claim, error) {
	if text == "" {
		return 0, nil
	}
	var c Claim
	for one := range strings.SplitSeq(text, ",") {
		at := slices.Index(words, strings.TrimSpace(one))
		if at < 0 {
			return 0, errors.New("is not a claim; write process-kill, power-loss, node-loss, or power-loss, node-loss for both")
		}
		c |= 1<<at | ProcessKill
	}
	return c, nil
}

// Covers reports whether c includes every loss of other.
func (c Claim) Covers(other Claim) bool { return c&other == other }

// String is the claim in the words of Parse, without what others of its words
// imply, and "none" for nothing.
func (c Claim) String() string {
	if c <= ProcessKill {
		return []string{none, words[0]}[c]
	}
	var all []string
	for at, word := range words {
		if loss := Claim(1 << at); loss != ProcessKill && c.Covers(loss) {
			all = append(all, word)
		}
	}
	return strings.Join(all, ",")
}

// MarshalText writes String.
func (c Claim) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
