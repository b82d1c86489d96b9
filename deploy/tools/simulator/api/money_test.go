package api

import (
	"testing"

	"pgregory.net/rapid"

	"arauto/schemas/wire"
)

func TestDecimalIsExact(t *testing.T) {
	t.Parallel()
	for cents, want := range map[int64][2]string{
		0: {"0", "0.0"}, 5: {"0.05", "0.05"}, 50: {"0.5", "0.5"}, 10000: {"100", "100.0"}, 9599: {"95.99", "95.99"}, 10450: {"104.5", "104.5"},
	} {
		if got := [2]string{decimal(cents, 0), decimal(cents, 1)}; got != want {
			t.Errorf("%d: got %v, want %v", cents, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		cents := rapid.Int64Range(0, 1e14).Draw(t, "cents")
		for decimals := range 3 {
			if back, err := wire.Cents(decimal(cents, decimals)); err != nil || back != cents {
				t.Fatalf("%s reads as %d, %v", decimal(cents, decimals), back, err)
			}
		}
	})
}
