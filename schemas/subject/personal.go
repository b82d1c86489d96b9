package subject

import (
	"bytes"
	"strings"
)

// Personal reports whether id may be personal data: it contains "@", or it is
// a valid CPF or CNPJ number, with or without the usual punctuation. Merchants
// do use such numbers as order ids. The prefix that sets 3DS results apart
// hides nothing.
func Personal(id string) bool {
	id = strings.TrimPrefix(id, "3ds-")
	if strings.Contains(id, "@") {
		return true
	}
	var written [len(longest)]byte
	digits := strip(id, &written)
	return validCPF(digits) || validCNPJ(digits)
}

// longest is how a CNPJ is written with all of its punctuation.
const longest = "00.000.000/0000-00"

// strip removes the punctuation of a written CPF or CNPJ. It gives up, with
// nothing, on anything else, so that a long text is looked at only once.
func strip(id string, into *[len(longest)]byte) []byte {
	if len(id) > len(into) {
		return nil
	}
	n := 0
	for i := range len(id) {
		switch c := id[i]; {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z':
			into[n] = c
			n++
		case 'a' <= c && c <= 'z':
			into[n] = c - 'a' + 'A'
			n++
		case c == '.' || c == '-' || c == '/' || c == ' ':
		default:
			return nil
		}
	}
	return into[:n]
}

// uniform reports whether a number is one digit again and again, which passes
// the check and is nobody's.
func uniform(s []byte) bool { return bytes.Count(s, s[:1]) == len(s) }

func validCPF(s []byte) bool {
	if len(s) != 11 || uniform(s) || bytes.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' }) {
		return false
	}
	return checkDigit(s[:9], 11) == s[9] && checkDigit(s[:10], 11) == s[10]
}

// validCNPJ accepts the numeric form and the alphanumeric one that Receita
// Federal issues since July 2026 (IN RFB 2.229/2024): letters count with
// their ASCII value less 48, the two check digits stay digits.
func validCNPJ(s []byte) bool {
	if len(s) != 14 || uniform(s) {
		return false
	}
	return checkDigit(s[:12], 9) == s[12] && checkDigit(s[:13], 9) == s[13]
}

// checkDigit is the modulo-11 digit over s, weighted from the right with 2, 3
// and so on, starting again at 2 past the heaviest weight.
func checkDigit(s []byte, heaviest int) byte {
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
