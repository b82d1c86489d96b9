package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// FuzzLoad checks that no file whatever makes the loader panic or print a
// value of the environment, and that every refusal has a place in the file.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"testdata/whole.yaml", "testdata/defaults.yaml"} {
		seed, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(seed))
	}
	for _, seed := range []string{"", "a: &a [*a]", "hash_key: {file: x}", "? [a]\n: b", "a: 1\n---\nb: 2", "x: !!binary aa", "<<: {a: b}", "gateway:", "\xff", "hash_key: [${A}]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		env := func(string) (string, bool) { return canary, true }
		c, err := parse("f.yaml", []byte(text), env, known, RoleGateway, RoleLookup, RoleNormalize, RoleSweep)
		if err == nil {
			// A variable for a name or a user is no secret; every other place hides it.
			if out := c.Redacted(); strings.Contains(out, "token: "+canary) || strings.Contains(out, "- "+canary) {
				t.Errorf("redacted shows the secret: %s", out)
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("the error is %v", err)
		}
		if strings.Contains(text, canary) {
			return // It may be shown as a key.
		}
		for _, p := range problems {
			if p.Line < 1 || p.Line > strings.Count(text, "\n")+strings.Count(text, "\r")+2 || !strings.Contains(p.Text, ";") || strings.Contains(p.Text, canary) {
				t.Errorf("a problem has no place or advice, or shows the secret: %s", p)
			}
		}
	})
}
