package expectations

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"arauto/deploy/runtime/config"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// standIn takes the place of the secrets of an account, which Check does not read.
const standIn = "configured"

// Check returns the kind of a payment that can be expected, or why it cannot. A payment
// that cannot be looked up, and a 3DS result, are refused: nothing would say that they were
// not paid.
func Check(cfg *config.Config, of, account, payment string) (order.Kind, error) {
	p, ok := providers.All.Get(of)
	if !ok {
		return "", errors.New("there is no provider of that name")
	}
	settings, configured := cfg.PlainSettings(of, account, standIn)
	if !configured {
		return "", fmt.Errorf("%s has no account of that name in the configuration", of)
	}
	if err := subject.CheckID(payment); err != nil {
		return "", fmt.Errorf("payment: %w", err)
	}
	kind := p.KindOf(payment)
	if kind == order.Authentication {
		return "", errors.New("a 3DS result is no payment, and cannot be expected")
	}
	err := provider.ErrNoLookUp
	if p.Ask != nil {
		_, err = p.Ask(provider.Target{Kind: kind, Payment: payment}, provider.Account{Name: account, Settings: settings})
	}
	if errors.Is(err, provider.ErrNoLookUp) {
		return "", fmt.Errorf("payments of this account of %s cannot be looked up, so they cannot be expected", of)
	}
	return kind, nil // Another error is about the settings, which lookup has in full.
}

// Payment returns the id of the payment on a subject of EXPECTATIONS: given is the one that
// the body names, "" for none. The error says what the announcer must change.
func Payment(tokens subject.Tokens, u subject.Unit, given string) (string, error) {
	id := given
	if id == "" {
		if strings.HasPrefix(u.Payment, "~") {
			return "", errors.New("payment: it is missing, and the subject has its hash only")
		}
		var err error
		if id, err = url.PathUnescape(u.Payment); err != nil {
			return "", errors.New("the subject's token of the payment is not percent-encoded")
		}
	}
	if err := subject.CheckID(id); err != nil {
		return "", fmt.Errorf("payment: %w", err)
	}
	if tokens.Token(id) != u.Payment {
		return "", errors.New("payment: its token is not the subject's; announce it by the command or the HTTP route, which make the token")
	}
	return id, nil
}
