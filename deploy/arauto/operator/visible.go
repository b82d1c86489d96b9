package operator

import (
	"strconv"
	"strings"
	"unicode"
)

// visible shows what cannot be printed as an escape. Ids and words come from
// outside: a line break in one would forge a line, and an escape sequence would
// steer the operator's terminal.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}
