package api

import "crypto/subtle"

// accounts are the merchants that every provider knows.
var accounts = [...]string{"default", "acme"}

// knownAccount reports whether account is one of ours.
func knownAccount(account string) bool {
	for _, a := range accounts {
		if a == account {
			return true
		}
	}
	return false
}

// secretOf is an account's own version of a credential: the one of account
// default as it stands, any other with the account's name before it.
func secretOf(account, base string) string {
	if account == accounts[0] {
		return base
	}
	return account + "-" + base
}

// holderOf says which account holds the given version of a credential, ""
// when none does.
func holderOf(given, base string) string {
	for _, account := range accounts {
		if subtle.ConstantTimeCompare([]byte(given), []byte(secretOf(account, base))) == 1 {
			return account
		}
	}
	return ""
}
