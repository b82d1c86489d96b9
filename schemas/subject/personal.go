package subject

import "strings"

// Personal reports whether id may be personal data: it contains "@", or it is
// a valid CPF or CNPJ number, with or without the usual punctuation. Merchants
// do use such numbers as order ids. The prefix that sets 3DS results apart
// hides nothing.
func Personal(id string) bool {
	id = strings.TrimPrefix(id, "3ds-")
	if strings.Contains(id, "@") {
		return true
	}
	digits := strip(id)
	return validCPF(digits) || validCNPJ(digits)
}

// strip removes the punctuation of a written CPF or CNPJ. It gives up, with
// "", on anything else, so that a long text is looked at only once.
func strip(id string) string {
	if len(id) > len("00.000.000/0000-00") {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(id); i++ {
		switch c := id[i]; {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z':
			b.WriteByte(c)
		case 'a' <= c && c <= 'z':
			b.WriteByte(c - 'a' + 'A')
		case c == '.' || c == '-' || c == '/' || c == ' ':
		default:
			return ""
		}
	}
	return b.String()
}

func validCPF(s string) bool {
	if len(s) != 11 || strings.Trim(s, "0123456789") != "" || strings.Count(s, s[:1]) == len(s) {
		return false
	}
	return checkDigit(s[:9], 11) == s[9] && checkDigit(s[:10], 11) == s[10]
}

// validCNPJ accepts the numeric form and the alphanumeric one that Receita
// Federal issues since July 2026 (IN RFB 2.229/2024): letters count with
// their ASCII value less 48, the two check digits stay digits.
func validCNPJ(s string) bool {
	if len(s) != 14 || strings.Count(s, s[:1]) == len(s) {
		return false
	}
	return checkDigit(s[:12], 9) == s[12] && checkDigit(s[:13], 9) == s[13]
}

// checkDigit is the modulo-11 digit over s, weighted from the right with 2, 3
// and so on, starting again at 2 past the heaviest weight.
func checkDigit(s string, heaviest int) byte {
	sum, weight := 0, 2
	for i := len(s) - 1; i >= 0; i-- {
		sum += int(s[i]-'0') * weight
		if weight++; weight > heaviest {
			weight = 2
		}
	}
	if rest := sum % 11; rest >= 2 {
		return byte('0' + 11 - rest)
	}
	return '0'
}
