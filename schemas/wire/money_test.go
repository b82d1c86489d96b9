package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"arauto/schemas/wire"
)

func TestCentsIsExact(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "0.0": 0, "-0": 0, "20.51": 2051, "142.0": 14200, "147.69": 14769, "100": 10000, "1e2": 10000, "0.1": 10,
		"95.99": 9599, "3.0900000000000034": 309, "1.1499999999999999": 115, "10000000000000": 1_000_000_000_000_000,
	} {
		if got, err := wire.Cents(text); err != nil || got != want {
			t.Errorf("%q is %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestCentsRefusesWhatIsNoAmount(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", " ", "x", "1,00", "R$ 1", "-1", "-0.01", "0.001", "1.005", "NaN", "Inf", "0x10", "1e99", "1e-99", "1e2147483647",
		"1e99999999999999", "10000000000000.01", "1.2.3", strings.Repeat("1", 41),
	} {
		if got, err := wire.Cents(text); err == nil {
			t.Errorf("%q is %d", text, got)
		} else if text != "" && text != " " && text != "x" && strings.Contains(err.Error(), text) {
			t.Errorf("the error quotes the amount: %v", err)
		}
	}
}

func FuzzCents(f *testing.F) {
	for _, seed := range []string{"20.51", "1e2", "-1", "0.005", "3.0900000000000034", "1e20", "99999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cents, err := wire.Cents(text)
		if err != nil {
			return
		}
		if cents < 0 || cents > 1_000_000_000_000_000 {
			t.Errorf("%q is %d", text, cents)
		}
		if again, err := wire.Cents(fmt.Sprintf("%d.%02d", cents/100, cents%100)); err != nil || again != cents {
			t.Errorf("%d written down is %d, %v", cents, again, err)
		}
	})
}

func TestMinorUnitsHaveTheDigitsOfTheirCurrency(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"1500": 1500, "1500.0": 1500, "1500.00000001": 1500} {
		if got, err := wire.Minor(text, 0); err != nil || got != want {
			t.Errorf("%s without decimals is %d, %v", text, got, err)
		}
	}
	if got, err := wire.Minor("1500.5", 0); err == nil {
		t.Errorf("half a minor unit is %d", got)
	}
	if got, err := wire.Minor("20.51", 2); err != nil || got != 2051 {
		t.Errorf("20.51 is %d, %v", got, err)
	}
}
