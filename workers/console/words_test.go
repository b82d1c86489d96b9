package console

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/record"
)

var verbs = regexp.MustCompile(`%[^ %]`)

func TestEveryTextIsThereInBothLanguages(t *testing.T) {
	t.Parallel()
	for key, w := range table {
		if w.English == "" || w.Portuguese == "" {
			t.Errorf("%s lacks a language", key)
		}
		if a, b := verbs.FindAllString(w.English, -1), verbs.FindAllString(w.Portuguese, -1); !slices.Equal(a, b) {
			t.Errorf("%s has the verbs %v and %v", key, a, b)
		}
	}
}

// A key that is not in the table would be shown as it is.
func TestEveryTextOfAPageIsInTheTable(t *testing.T) {
	t.Parallel()
	used, family := regexp.MustCompile(`\bt "([^"]+)"`), regexp.MustCompile(`\bword "([^"]+)"`)
	inCode := regexp.MustCompile(`"([a-z]+\.[a-z-]+)"`)
	seen := map[string]bool{}
	note := func(key, where string) {
		seen[key] = true
		if _, ok := table[key]; !ok {
			t.Errorf("%s uses %s, which is not in the table", where, key)
		}
	}
	names, err := fs.Glob(pageFiles, "pages/*.html")
	if err != nil || len(names) < 8 {
		t.Fatal(names, err)
	}
	var families []string
	for _, name := range names {
		text, err := fs.ReadFile(pageFiles, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range used.FindAllStringSubmatch(string(text), -1) {
			note(m[1], name)
		}
		for _, m := range family.FindAllStringSubmatch(string(text), -1) {
			families = append(families, m[1]+".")
		}
		if regexp.MustCompile(`(?i)<script(>| [^s])|<style|\sstyle=|\son[a-z]+=|javascript:|https?://`).Match(text) {
			t.Errorf("%s has something inline, or of another host", name)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if name == "words.go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inCode.FindAllStringSubmatch(string(text), -1) {
			if _, ok := table[m[1]]; ok {
				seen[m[1]] = true
			}
		}
	}
	for key := range table {
		dynamic := strings.HasPrefix(key, "act.") || slices.ContainsFunc(families, func(f string) bool { return strings.HasPrefix(key, f) })
		if !seen[key] && !dynamic {
			t.Errorf("no page uses %s", key)
		}
	}
}

func TestEveryWordOfOursHasAText(t *testing.T) {
	t.Parallel()
	var keys []string
	for _, kind := range order.Kinds() {
		keys = append(keys, "kind."+string(kind))
		for _, status := range kind.Statuses() {
			keys = append(keys, "status."+string(status))
			if _, ok := places[status]; !ok {
				t.Errorf("%s has no place in the drawing", status)
			}
		}
	}
	for _, outcome := range order.Outcomes() {
		keys = append(keys, "outcome."+string(outcome))
	}
	for _, word := range expectation.Words() {
		keys = append(keys, "expectation."+string(word))
	}
	for _, f := range record.Failures() {
		keys = append(keys, "failure."+string(f), "reason."+string(f))
	}
	for _, c := range []order.Cause{order.CauseNotification, order.CauseRecheck, order.CauseConfirmation, order.CauseSweep, order.CauseOperator, order.CauseExpectation} {
		keys = append(keys, "cause."+string(c))
		if c != order.CauseNotification { // What waits is a recheck, or has failed.
			keys = append(keys, "reason."+string(c))
		}
	}
	for _, key := range keys {
		if _, ok := table[key]; !ok {
			t.Errorf("%s is not in the table", key)
		}
	}
	for _, verb := range []string{verbRetry, verbReplay, verbRedrive, verbDiscard, verbOpen, verbClose, verbCancel, verbHold, verbResume} {
		if _, ok := table["act."+verb]; !ok {
			t.Errorf("the action %s has no name", verb)
		}
	}
}

func TestNumbersAreWrittenAsTheLanguageDoes(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		english.money(123456789, "BRL"): "R$ 1,234,567.89", portuguese.money(-5, "BRL"): "R$ -0,05", portuguese.money(100000, "EUR"): "EUR 1.000,00",
		english.money(5000, "CLP"): "CLP 5,000", portuguese.money(-1500, "PYG"): "PYG -1.500", english.money(1234567, "KWD"): "KWD 1,234.567",
		english.number(1234567): "1,234,567", portuguese.number(uint64(999)): "999", portuguese.number(1234.6): "1.235",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A person copies the command that a page shows.
func TestArgumentIsQuotedForAShell(t *testing.T) {
	t.Parallel()
	for argument, want := range map[string]string{"o-1.2": "o-1.2", "a b": "'a b'", "$(id)": "'$(id)'", "it's": `'it'\''s'`, "~ab": "'~ab'", "": "''", "ação": "'ação'"} {
		if got := quoted(argument); got != want {
			t.Errorf("%q is %s, want %s", argument, got, want)
		}
	}
	if got := operand("-x") + " " + operand("o'x"); got != `-- -x 'o'\''x'` {
		t.Errorf("operands are %s", got)
	}
}
