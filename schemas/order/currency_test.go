package order_test

import (
	"testing"

	"arauto/schemas/order"
)

func TestDigitsAreThoseOfTheStandard(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]int32{"BRL": 2, "USD": 2, "COP": 2, "CLP": 0, "PYG": 0, "JPY": 0, "KWD": 3, "CLF": 4, "": 2} {
		if got := order.Digits(code); got != want {
			t.Errorf("%q has %d decimals, want %d", code, got, want)
		}
	}
}
