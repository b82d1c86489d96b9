package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// lifetime is how long Checkout's tokens are valid, as documented.
const lifetime = 5 * time.Minute

// credentials is the token request. Only JSON is documented.
type credentials struct {
	GrantType    string `json:"grant_type"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

// grant is the token reply.
type grant struct {
	AccessToken          string `json:"access_token"`
	TokenType            string `json:"token_type"`
	ExpiresIn            int    `json:"expires_in"` // Seconds.
	Scope                string `json:"scope"`
	AuthorizationDetails []any  `json:"authorization_details"`
}

// checkoutLogin: POST oauth2/token with client credentials.
func checkoutLogin(r *http.Request, path []string, now time.Time) (int, any, bool) {
	if len(path) != 2 || path[0] != "oauth2" || path[1] != "token" {
		return 0, nil, false
	}
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, checkoutRefusal(http.StatusMethodNotAllowed), true
	}
	var c credentials
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || c.GrantType != "client_credentials" {
		e := checkoutError{Message: "Bad Request", BusinessCode: "ERROR", Errors: []checkoutFieldError{}}
		return http.StatusBadRequest, e, true
	}
	account := holderOf(c.ClientID, "checkout-client")
	if account == "" || holderOf(c.ClientSecret, "checkout-secret") != account {
		e := checkoutError{Message: "Invalid client or Invalid client credentials", BusinessCode: "UNAUTHORIZED", Errors: []checkoutFieldError{}}
		return http.StatusUnauthorized, e, true
	}
	return http.StatusOK, grant{
		AccessToken:          signToken(account, now.Add(lifetime)),
		TokenType:            "Bearer",
		ExpiresIn:            int(lifetime / time.Second),
		Scope:                "openid",
		AuthorizationDetails: []any{},
	}, true
}

// claims are what a token says.
type claims struct {
	Account string `json:"sub"`
	Expires int64  `json:"exp"` // Unix milliseconds.
}

// signToken makes a token in the shape of the real JWT. It carries all there
// is to know, so that it outlives a restart of the simulator as the real one
// outlives a restart of the provider.
func signToken(account string, expires time.Time) string {
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))
	text, _ := json.Marshal(claims{Account: account, Expires: expires.UnixMilli()}) // Cannot fail: text and a number.
	signed := header + "." + base64.RawURLEncoding.EncodeToString(text)
	return signed + "." + signature(signed)
}

func signature(text string) string {
	mac := hmac.New(sha256.New, []byte("the simulator's tokens open nothing but the simulator"))
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// bearer says whose valid token an authorization header carries, "" when it
// is nobody's or has expired.
func bearer(header string, now time.Time) string {
	scheme, token, _ := strings.Cut(header, " ")
	dot := strings.LastIndexByte(token, '.')
	if !strings.EqualFold(scheme, "Bearer") || dot < 0 || !hmac.Equal([]byte(signature(token[:dot])), []byte(token[dot+1:])) {
		return ""
	}
	_, payload, _ := strings.Cut(token[:dot], ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var c claims
	if err := json.Unmarshal(text, &c); err != nil || now.UnixMilli() >= c.Expires {
		return ""
	}
	return c.Account
}
