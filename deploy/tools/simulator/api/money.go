package api

import (
	"encoding/json"
	"fmt"
	"strings"
)

// decimal writes cents as reais without a float, with at least the given
// number of decimals: 10000 is "100" or "100.0", 9599 is "95.99".
func decimal(cents int64, decimals int) string {
	text := fmt.Sprintf("%d.%02d", cents/100, cents%100)
	for strings.HasSuffix(text, "0") && len(text)-strings.IndexByte(text, '.')-1 > decimals {
		text = text[:len(text)-1]
	}
	return strings.TrimSuffix(text, ".")
}

// reais is an amount as a JSON number, as PicPay's documentation writes it.
func reais(cents int64) json.Number { return json.Number(decimal(cents, 0)) }
