package config

import (
	"strings"
	"testing"
	"time"
)

func TestExpectReadsItsTokenAndNoOtherSecret(t *testing.T) {
	t.Parallel()
	env := environment("HASH", "0123456789abcdef0123456789abcdef", "TOKEN", "a-token-of-enough-bytes")
	text := "hash_key: ${HASH}\ndeployment: here\nexpect: {without_deadline: 48h, http_token: \"${TOKEN:-}\"}\n" +
		"providers: {alpha: {accounts: {default: {webhook_secrets: [\"${NOT_THERE}\"]}}}}\n"
	c, err := parse("f.yaml", []byte(text), env, known, RoleExpect)
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Expect()
	if err != nil || e.Without != 48*time.Hour || e.Bearer.Reveal() != "a-token-of-enough-bytes" || e.Deployment != "here" || e.TimeScale != 1 {
		t.Errorf("the section is %+v, %v", e, err)
	}
	if strings.Contains(c.Redacted(), "a-token") {
		t.Errorf("the token is shown:\n%s", c.Redacted())
	}
	c, err = parse("f.yaml", []byte(strings.Replace(text, "TOKEN", "NONE", 1)), env, known, RoleExpect)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := c.Expect(); err != nil || !e.Bearer.Empty() {
		t.Errorf("without a token: %+v, %v", e, err)
	}
}

func TestExpectRefusesAWeakToken(t *testing.T) {
	t.Parallel()
	env := environment("HASH", "0123456789abcdef0123456789abcdef", "SHORT", "short")
	for section, wrong := range map[string]string{
		`{http_token: "${SHORT}"}`:                "fewer than 16 bytes",
		`{http_token: a-token-that-stands-there}`: "a secret must not stand in this file",
		`{http_token: "${NOT_THERE}"}`:            "NOT_THERE is not set",
		`{without_deadline: 1m}`:                  "without_deadline",
		`{token: x}`:                              "there is no key",
	} {
		_, err := parse("f.yaml", []byte("hash_key: ${HASH}\nexpect: "+section+"\n"), env, known, RoleExpect)
		if err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v, want %q", section, err, wrong)
		}
	}
}
