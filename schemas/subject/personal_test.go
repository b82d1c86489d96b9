package subject_test

import (
	"fmt"
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
	} {
		if !subject.Personal(id) {
			t.Errorf("%q is shown", id)
		}
	}
	for _, id := range []string{
		"", "102030", "52998224726", "529.982.247-2", "00000000000", "111.111.111-11", "00.000.000/0000-00", "11222333000182",
		"12ABC34501DE36", "12ABC34501DEA5", "61e35ec2-caa8-4598-bed5-d43e25e14151", "a1b2c3d4e5f60718293a4b5c6d7e8f90",
		"52998224725x", "x52998224725", "529_982_247_25", "529.982.247-25 529.982.247-25",
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
