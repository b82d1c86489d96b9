package picpaycheckout

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// PicPay documents that a token is valid for five minutes. A longer claim than
// a day is not believed.
const (
	documentedLifetime = 5 * time.Minute
	longestLifetime    = 24 * time.Hour
)

// askToken asks with JSON, as the token page documents.
func askToken(a provider.Account) (provider.Question, error) {
	body, err := json.Marshal(map[string]string{
		"grant_type":    "client_credentials",
		"client_id":     a.Settings["client_id"],
		"client_secret": a.Settings["client_secret"],
	})
	if err != nil {
		return provider.Question{}, fmt.Errorf("write token question: %w", err)
	}
	return provider.Question{
		Method: http.MethodPost,
		URL:    a.Settings["token_url"],
		Header: map[string]string{"accept": "application/json", "content-type": "application/json"},
		Body:   body,
	}, nil
}

func answerToken(r provider.Reply) (provider.Token, error) {
	if refusedClient(r) {
		return provider.Token{}, fmt.Errorf("status %d: %w", r.Status, provider.ErrCredential)
	}
	var grant struct {
		AccessToken string     `json:"access_token"`
		ExpiresIn   wire.Loose `json:"expires_in"` // Seconds.
	}
	if err := provider.DecodeReply(r, &grant); err != nil {
		return provider.Token{}, err
	}
	if grant.AccessToken == "" || strings.ContainsFunc(grant.AccessToken, notVisible) {
		return provider.Token{}, fmt.Errorf("%w: it has no usable token", provider.ErrUnreadable)
	}
	return provider.Token{Value: grant.AccessToken, Lifetime: lifetime(string(grant.ExpiresIn))}, nil
}

// refusedClient reports whether r is how a token endpoint refuses the client
// itself. RFC 6749, section 5.2, has a 400 for that too; invalid_request and the
// like are about the request.
func refusedClient(r provider.Reply) bool {
	var refusal struct {
		Error wire.Loose `json:"error"`
	}
	return r.Status == http.StatusBadRequest && wire.Object(r.Body, &refusal) == nil &&
		(refusal.Error == "invalid_client" || refusal.Error == "unauthorized_client")
}

// lifetime reads expires_in, whichever way it is written. Nonsense is no reason to
// refuse a token that is good.
func lifetime(seconds string) time.Duration {
	n, err := strconv.ParseFloat(seconds, 64)
	if err != nil || !(n > 0) {
		return documentedLifetime
	}
	return time.Duration(min(n, longestLifetime.Seconds()) * float64(time.Second))
}

// notVisible tells what a header cannot carry as part of a token.
func notVisible(r rune) bool { return r <= ' ' || r > '~' }
