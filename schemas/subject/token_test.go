package subject_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arauto/schemas/subject"
)

const key = "a key with more than 16 bytes"

func keyed(t testing.TB, key string) subject.Tokens {
	t.Helper()
	tokens, err := subject.Keyed(key)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// checkToken is what holds for the token of every id that is not empty.
func checkToken(t testing.TB, tokens subject.Tokens, id string) {
	t.Helper()
	token := tokens.Token(id)
	if token == "" || len(token) > subject.MaxToken {
		t.Errorf("%.60q has a token of %d bytes", id, len(token))
	}
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-%"
	rest, hashed := strings.CutPrefix(token, "~")
	if strings.Trim(rest, allowed) != "" {
		t.Errorf("%.60q has the token %q", id, token)
	}
	if hashed {
		if rest != tokens.Hash(id) {
			t.Errorf("%.60q has the hashed token %q", id, token)
		}
		if len(id)*3 <= subject.MaxToken && !subject.Personal(id) {
			t.Errorf("%q is hashed for nothing", id)
		}
		return
	}
	// The id can be read back, so no two ids share a token.
	if back, err := url.PathUnescape(token); err != nil || back != id {
		t.Errorf("%q has the token %q, which reads %q, %v", id, token, back, err)
	}
	if strings.Contains(id, "@") {
		t.Errorf("the address %q is shown", id)
	}
}

func TestTokenHoldsItsPlaceForEveryID(t *testing.T) {
	t.Parallel()
	tokens := keyed(t, key)
	rapid.Check(t, func(t *rapid.T) {
		id := string(rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "id"))
		token := tokens.Token(id)
		if token == "" || len(token) > subject.MaxToken || strings.ContainsAny(token, ".*> \t\r\n\x00") {
			t.Fatalf("%q has the token %q", id, token)
		}
		other := string(rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "other"))
		if id != other && token == tokens.Token(other) {
			t.Fatalf("%q and %q share the token %q", id, other, token)
		}
	})
}

func FuzzToken(f *testing.F) {
	for _, seed := range []string{
		"102030", "a.b", "*", ">", "a b", "%41", "~x", "\x00\n", "pedido ç", "a@b.c", "529.982.247-25", "12.ABC.345/01DE-35",
		strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat(".", 43), "\xff",
	} {
		f.Add(seed)
	}
	tokens, err := subject.Keyed(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if id != "" {
			checkToken(t, tokens, id)
		}
	})
}

func TestTokensOfKnownIDs(t *testing.T) {
	t.Parallel()
	tokens := keyed(t, key)
	for id, want := range map[string]string{
		"102030":                 "102030",
		"A-b_9":                  "A-b_9",
		"a.b":                    "a%2Eb",
		"a b*>":                  "a%20b%2A%3E",
		"é":                      "%C3%A9",
		"%2E":                    "%252E",
		"~x":                     "%7Ex",
		strings.Repeat("x", 128): strings.Repeat("x", 128),
	} {
		if got := tokens.Token(id); got != want {
			t.Errorf("%q has the token %q, want %q", id, got, want)
		}
	}
	for _, id := range []string{strings.Repeat("x", 129), strings.Repeat(".", 43), "a@b", "529.982.247-25"} {
		if got := tokens.Token(id); got != "~"+tokens.Hash(id) {
			t.Errorf("%.20q has the token %q", id, got)
		}
	}
}

func TestHashDependsOnTheKeyAndTheID(t *testing.T) {
	t.Parallel()
	one, two := keyed(t, key), keyed(t, key+"!")
	if one.Hash("a") == two.Hash("a") || one.Hash("a") == one.Hash("b") || one.Hash("a") != keyed(t, key).Hash("a") {
		t.Error("the hash ignores its key or its id")
	}
	if got := one.Hash("102030"); got != "a8203fdf03e23661358887d4f713a66790a8bb68" {
		t.Errorf("the hash is %q, but subjects with the old one are for ever", got)
	}
}

func TestKeyedRefusesAShortKey(t *testing.T) {
	t.Parallel()
	if _, err := subject.Keyed(strings.Repeat("k", 15)); err == nil {
		t.Error("15 bytes are taken")
	}
	if _, err := subject.Keyed(strings.Repeat("k", 16)); err != nil {
		t.Error(err)
	}
}

func TestCheckIDRefusesOnlyWhatCannotBeAName(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", ".", "..", "\xff", strings.Repeat("x", 257), strings.Repeat("é", 129), strings.Repeat("x", 32<<10)} {
		if subject.CheckID(id) == nil {
			t.Errorf("%.20q is taken", id)
		}
	}
	for _, id := range []string{"...", " ", "\n", "*", ">", "a.b", "é", strings.Repeat("x", 256), strings.Repeat("é", 128)} {
		if err := subject.CheckID(id); err != nil {
			t.Errorf("%.20q: %v", id, err)
		}
	}
}

func TestTokensPrintNoKey(t *testing.T) {
	t.Parallel()
	tokens := keyed(t, key)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, tokens); got != "***" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}
