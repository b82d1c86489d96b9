package subject

import (
	"bytes"
	"slices"
	"strings"
)

// Personal reports whether id may be personal data: it contains "@", or it is
// or contains a valid CPF or CNPJ number, with or without the usual
// punctuation. Merchants do use such numbers as order ids and as parts of
// them. The prefix that sets 3DS results apart hides nothing.
//
// One number in a hundred has fitting check digits by chance. Such an id is
// hashed where it need not be, always in the same way, and nothing is lost.
func Personal(id string) bool {
	if strings.Contains(id, "@") {
		return true
	}
	if id = strings.TrimPrefix(id, "3ds-"); len(id) < cpf.size || opaque(id) {
		return false
	}
	var written [len(longest)]byte
	digits := strip(id, &written)
	return validCPF(digits) || validCNPJ(digits) || contained(id)
}

// minDigest is how many hexadecimal digits make an id opaque. PicPay's
// authorization ids have 24, and a merchant's prefix with a number has fewer.
const minDigest = 24

// opaque reports whether id is a UUID or a hexadecimal digest. Providers make
// those by chance, so that 11 digits in a row there are no CPF; one UUID in
// 25,000 would otherwise be taken for personal data, and not be passed on as
// the provider's reference.
func opaque(id string) bool {
	dashed := len(id) == 36
	for i := range len(id) {
		c := id[i]
		if dashed && (i == 8 || i == 13 || i == 18 || i == 23) {
			if c != '-' {
				return false
			}
			continue
		}
		if !digit(c) && (c|0x20 < 'a' || 'f' < c|0x20) {
			return false
		}
	}
	return len(id) >= minDigest
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// number is a kind of number with check digits that stands in a longer id.
type number struct {
	size   int   // Characters without punctuation.
	breaks []int // After how many of them punctuation may stand.
	root   int   // How many of them may be letters, where the punctuation is whole.
	valid  func([]byte) bool
}

var (
	cpf  = number{size: 11, breaks: []int{3, 6, 9}, valid: validCPF}
	cnpj = number{size: 14, breaks: []int{2, 5, 8, 12}, root: 12, valid: validCNPJ}
)

// contained reports whether a CPF or a CNPJ begins at any place of id.
func contained(id string) bool {
	for i := range len(id) - cpf.size + 1 {
		if cpf.at(id, i) || cnpj.at(id, i) {
			return true
		}
	}
	return false
}

// at reports whether a valid number begins at id[i]. With its whole punctuation
// a number may stand between any characters. With less of it, the characters
// around must not be digits, and no colon may follow: nanoseconds and the zone
// of a time look like a CPF of which only the check digits are set apart.
func (n number) at(id string, i int) bool {
	var plain [14]byte
	next, marks, letters := i, 0, 0
	for k := range n.size {
		if next < len(id) && punctuation(id[next]) && slices.Contains(n.breaks, k) {
			next, marks = next+1, marks+1
		}
		if next >= len(id) {
			return false
		}
		c := id[next]
		switch {
		case digit(c):
		case k < n.root && 'a' <= c|0x20 && c|0x20 <= 'z':
			c, letters = c&^0x20, letters+1
		default:
			return false
		}
		plain[k], next = c, next+1
	}
	if marks < len(n.breaks) {
		before, after := i > 0 && digit(id[i-1]), next < len(id) && (digit(id[next]) || marks > 0 && id[next] == ':')
		if letters > 0 || before || after {
			return false
		}
	}
	return n.valid(plain[:n.size])
}

func punctuation(c byte) bool { return c == '.' || c == '-' || c == '/' || c == ' ' }

// longest is how a CNPJ is written with all of its punctuation.
const longest = "00.000.000/0000-00"

// strip removes the punctuation of a written CPF or CNPJ. It gives up, with
// nothing, on anything else, so that a long text is read only once.
func strip(id string, into *[len(longest)]byte) []byte {
	if len(id) > len(into) {
		return nil
	}
	n := 0
	for i := range len(id) {
		switch c := id[i]; {
		case digit(c), 'A' <= c && c <= 'Z':
			into[n] = c
			n++
		case 'a' <= c && c <= 'z':
			into[n] = c - 'a' + 'A'
			n++
		case punctuation(c):
		default:
			return nil
		}
	}
	return into[:n]
}

// uniform reports whether a number is one digit again and again, which passes
// the check but is never issued.
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
