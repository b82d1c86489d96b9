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

// lifetime is how long tokens are valid, as PicPay documents it.
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

// login answers a request to the provider's token endpoint, with client credentials; false
// when the path is not that endpoint.
func (d dialect) login(r *http.Request, path []string, now time.Time) (status int, body any, ok bool) {
	if d.Token.Login == "" || strings.Join(path, "/") != d.Token.Login {
		return 0, nil, false
	}
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, d.Refusal(http.StatusMethodNotAllowed), true
	}
	var c credentials
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || c.GrantType != "client_credentials" {
		return http.StatusBadRequest, d.Refusal(http.StatusBadRequest), true
	}
	account := d.holder(c.ClientID, d.Token.LoginID)
	if account == "" || d.holder(c.ClientSecret, d.Token.Setting) != account {
		return http.StatusUnauthorized, d.Token.Refused, true
	}
	return http.StatusOK, grant{
		AccessToken:          signToken(claims{account, now.Add(lifetime).UnixMilli()}),
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
func signToken(c claims) string {
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))
	text, _ := json.Marshal(c) // Cannot fail: text and a number.
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
