package subject_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arauto/schemas/subject"
)

func TestPersonalKnowsNumbersAndAddresses(t *testing.T) {
	t.Parallel()
	for _, id := range []string{
		"pessoa@email.com", "@", "52998224725", "529.982.247-25", "529 982 247 25", "111.444.777-35",
		"11222333000181", "11.222.333/0001-81", "12ABC34501DE35", "12.ABC.345/01DE-35", "12.abc.345/01de-35",
		// Within longer ids.
		"pedido-52998224725", "52998224725x", "x52998224725", "cpf52998224725", "2024-52998224725-01", "529.982.247-25 529.982.247-25",
		"pedido 529.982.247-25/1", "7529.982.247-257", "pedido_529982247-25", "3ds-pedido52998224725", "11222333000181/3", "nf11.222.333/0001-81",
		"filial 11222333/0001-81", "loja 12.abc.345/01de-35", "1234 maria@example.com",
	} {
		if !subject.Personal(id) {
			t.Errorf("%q is shown", id)
		}
	}
	for _, id := range []string{
		"", "102030", "52998224726", "529.982.247-2", "00000000000", "111.111.111-11", "00.000.000/0000-00", "11222333000182",
		"12ABC34501DE36", "12ABC34501DEA5", "61e35ec2-caa8-4598-bed5-d43e25e14151", "a1b2c3d4e5f60718293a4b5c6d7e8f90",
		"529_982_247_25",
		// Longer numbers, other check digits, times, and what providers make by chance.
		"152998224725", "529982247251", "pedido-52998224726", "pedido 529.982.247-26", "pedido 111.111.111-11", "loja 12ABC34501DE35x",
		"2025-04-16T11:30:04.529982247-25:00", "61e35ec2-caa8-4598-bed5-d52998224725", "a52998224725b2c3d4e5f60718293a4b", "52998224725cef7f321d00ef",
	} {
		if subject.Personal(id) {
			t.Errorf("%q is hashed", id)
		}
	}
}

// digit is the modulo-11 check digit as Receita Federal describes it, with
// the weights written out.
func digit(text string, weights ...int) byte {
	sum := 0
	for i, w := range weights {
		sum += (int(text[i]) - 48) * w
	}
	if rest := sum % 11; rest > 1 {
		return byte('0' + 11 - rest)
	}
	return '0'
}

func TestEveryValidCPFIsPersonal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[0-9]{9}`).Draw(t, "root")
		s += string(digit(s, 10, 9, 8, 7, 6, 5, 4, 3, 2))
		s += string(digit(s, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2))
		same := strings.Count(s, s[:1]) == 11
		if subject.Personal(s) == same {
			t.Fatalf("CPF %s", s)
		}
		if !same && !subject.Personal(fmt.Sprintf("%s.%s.%s-%s", s[:3], s[3:6], s[6:9], s[9:])) {
			t.Fatalf("written CPF %s", s)
		}
		spoiled := s[:10] + string('0'+(s[10]-'0'+1)%10)
		if subject.Personal(spoiled) {
			t.Fatalf("%s is no CPF", spoiled)
		}
	})
}

// written draws a valid CPF or CNPJ with whole, partial or no punctuation, and
// whether it is whole.
func written(t *rapid.T) (text string, whole bool) {
	if rapid.Bool().Draw(t, "cnpj") {
		s := rapid.StringMatching(`[0-9]{10}[1-9][0-9]`).Draw(t, "root")
		s += string(digit(s, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))
		s += string(digit(s, 6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))
		form := rapid.SampledFrom([]string{"%s.%s.%s/%s-%s", "%s%s%s/%s-%s", "%s%s%s%s%s"}).Draw(t, "form")
		return fmt.Sprintf(form, s[:2], s[2:5], s[5:8], s[8:12], s[12:]), form[2] == '.'
	}
	s := rapid.StringMatching(`[0-9]{7}[1-9]0`).Draw(t, "root")
	s += string(digit(s, 10, 9, 8, 7, 6, 5, 4, 3, 2))
	s += string(digit(s, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2))
	form := rapid.SampledFrom([]string{"%s.%s.%s-%s", "%s %s %s %s", "%s%s%s-%s", "%s%s%s%s"}).Draw(t, "form")
	return fmt.Sprintf(form, s[:3], s[3:6], s[6:9], s[9:]), form[2] != '%'
}

func TestEveryNumberWithinALongerIDIsPersonal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		number, whole := written(t)
		// What stands around it makes no opaque id, and no longer number where the punctuation is not whole.
		before := rapid.StringMatching(`[ -~]{0,40}[g-zG-Z_]`).Draw(t, "before")
		after := rapid.StringMatching(`([g-zG-Z_.-][ -~]{0,40})?`).Draw(t, "after")
		if whole {
			before += rapid.StringMatching(`[0-9]{0,3}`).Draw(t, "digits before")
			after = rapid.StringMatching(`[0-9]{0,3}`).Draw(t, "digits after") + after
		}
		if id := before + number + after; !subject.Personal(id) {
			t.Fatalf("%q in %q is shown", number, id)
		}
	})
}

func TestNumberWithoutItsCheckDigitsIsNotPersonal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		number, _ := written(t)
		end := len(number) - 1
		spoiled := number[:end] + string('0'+(number[end]-'0'+1)%10)
		before := rapid.StringMatching(`[a-zA-Z_]{0,40}`).Draw(t, "before")
		after := rapid.StringMatching(`[a-zA-Z_]{0,40}`).Draw(t, "after")
		if id := before + spoiled + after; subject.Personal(id) {
			t.Fatalf("%q is hashed", id)
		}
	})
}

func TestWhatProvidersMakeByChanceIsNotPersonal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		for _, form := range []string{
			`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, `[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9]{12}`,
			`[0-9a-f]{24}`, `[0-9a-f]{12}[0-9]{20}`, `3ds-[0-9a-f]{40}`,
		} {
			if id := rapid.StringMatching(form).Draw(t, "id"); subject.Personal(id) {
				t.Fatalf("%q is hashed", id)
			}
		}
	})
}

func FuzzPersonal(f *testing.F) {
	for _, seed := range []string{"", "529.982.247-25", "x11.222.333/0001-81x", "12.ABC.345/01DE-35", "61e35ec2-caa8-4598-bed5-d52998224725", "......-....", "ação 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		personal := subject.Personal(id)
		if strings.Contains(id, "@") && !personal {
			t.Errorf("%q is shown", id)
		}
		// Letters and dashes that no number has, on both sides, hide nothing.
		if personal && !subject.Personal("zz_"+strings.TrimPrefix(id, "3ds-")+"_zz") && alone(id) {
			t.Errorf("%q is personal, but not within a longer id", id)
		}
	})
}

// alone reports whether id has the digits and the punctuation of a number
// that is found anywhere: a number that is the whole id may be written as one
// likes.
func alone(id string) bool {
	return regexp.MustCompile(`^([0-9]{11}|[0-9]{14}|[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2})$`).MatchString(id)
}

func TestEveryValidCNPJIsPersonal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[0-9A-Z]{12}`).Draw(t, "root")
		s += string(digit(s, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))
		s += string(digit(s, 6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))
		if strings.Count(s, s[:1]) == 14 {
			return
		}
		written := fmt.Sprintf("%s.%s.%s/%s-%s", s[:2], s[2:5], s[5:8], s[8:12], s[12:])
		if !subject.Personal(s) || !subject.Personal(strings.ToLower(written)) {
			t.Fatalf("CNPJ %s", written)
		}
		spoiled := s[:13] + string('0'+(s[13]-'0'+1)%10)
		if subject.Personal(spoiled) {
			t.Fatalf("%s is no CNPJ", spoiled)
		}
	})
}
