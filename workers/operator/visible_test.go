package operator

import (
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestWhatIsPrintedForAPersonIsOneLineWithoutEscapes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"linha\nnova": `linha\nnova`, "\x1b[31mred": `\x1b[31mred`, "a\tb": `a\tb`, "pedido nº 1": "pedido nº 1", "\u202e": `\u202e`,
	} {
		if got := visible(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if got := visible(text); strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is shown as %q", text, got)
		}
	})
}
