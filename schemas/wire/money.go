package wire

import (
	"errors"

	"github.com/shopspring/decimal"
)

// maxAmount bounds a decimal amount before it is scaled, so that an exponent
// from outside cannot make us compute a huge number.
var maxAmount = decimal.New(1, 13)

// noise is how far from a whole cent a decimal may lie. Providers compute
// with binary floats (Yapay's sales listing shows 3.0900000000000034); a real
// fraction of a cent is refused.
var noise = decimal.New(1, -6)

// Cents reads a decimal amount of reais, such as "20.51", as integer cents.
// It refuses negative amounts, fractions of a cent and absurd sizes.
func Cents(s string) (int64, error) { return Minor(s, 2) }

// Minor is Cents for a currency whose minor unit has digits decimals.
func Minor(s string, digits int32) (int64, error) {
	if len(s) == 0 || len(s) > 40 {
		return 0, errors.New("amount is not a decimal number")
	}
	d, err := decimal.NewFromString(s)
	if err != nil || d.Exponent() > 20 || d.Exponent() < -40 {
		return 0, errors.New("amount is not a decimal number")
	}
	if d.IsNegative() {
		return 0, errors.New("amount is negative")
	}
	if d.GreaterThan(maxAmount) {
		return 0, errors.New("amount is absurdly large")
	}
	scaled := d.Shift(digits)
	cents := scaled.Round(0)
	if scaled.Sub(cents).Abs().GreaterThan(noise.Shift(digits)) {
		return 0, errors.New("amount has a fraction of a cent")
	}
	return cents.IntPart(), nil
}
