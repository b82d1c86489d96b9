package picpaycheckout

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"arauto/schemas/provider"
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
	var grant struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // Seconds.
	}
	if err := provider.DecodeReply(r, &grant); err != nil {
		return provider.Token{}, err
	}
	if grant.AccessToken == "" || strings.ContainsFunc(grant.AccessToken, notVisible) {
		return provider.Token{}, fmt.Errorf("%w: it has no usable token", provider.ErrUnreadable)
	}
	lifetime := documentedLifetime
	if grant.ExpiresIn > 0 {
		lifetime = time.Duration(min(grant.ExpiresIn, int64(longestLifetime/time.Second))) * time.Second
	}
	return provider.Token{Value: grant.AccessToken, Lifetime: lifetime}, nil
}

// notVisible tells what a header cannot carry as part of a token.
func notVisible(r rune) bool { return r <= ' ' || r > '~' }
