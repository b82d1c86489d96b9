package order

// Digits is how many decimals the minor unit of a currency has: an amount of 5000 is 50.00 in
// BRL and 5000 in CLP. code is its ISO 4217 code; a code that is not in the list has two.
func Digits(code string) int32 {
	switch code {
	case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF":
		return 0
	case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND":
		return 3
	case "CLF", "UYW":
		return 4
	}
	return 2
}
