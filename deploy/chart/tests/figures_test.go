package chart_test

import (
	"regexp"
	"strings"
	"testing"
)

// figure finds a measured value in a comment: its number and its unit.
var figure = regexp.MustCompile(`\b([0-9][0-9.]*) (MiB|µs)`)

// TestFiguresOfValuesAreMeasured wants each figure of values.yaml in FIGURES.md: its number, with
// the unit on the line or in the header of the line's table. What was measured before does not count.
func TestFiguresOfValuesAreMeasured(t *testing.T) {
	t.Parallel()
	now, _, _ := strings.Cut(read(t, "FIGURES.md"), "\n## Measured once")
	now = regexp.MustCompile(`\(before: [^)]*\)`).ReplaceAllString(now, "")
	found := figure.FindAllStringSubmatch(read(t, "chart/values.yaml"), -1)
	for _, m := range found {
		if !measured(now, m[1], m[2]) {
			t.Errorf("values.yaml says %s, and FIGURES.md does not", m[0])
		}
	}
	if len(found) < 6 {
		t.Errorf("only %d figures were found", len(found))
	}
}

func measured(figures, number, unit string) bool {
	alone := regexp.MustCompile(`(?:^|[^0-9.,])` + regexp.QuoteMeta(number) + `(?:$|[^0-9.,]|[.,](?:$|[^0-9]))`)
	header := ""
	for line := range strings.Lines(figures) {
		switch table := strings.HasPrefix(line, "|"); {
		case !table:
			header = ""
		case header == "":
			header = line
		}
		if alone.MatchString(line) && strings.Contains(header+line, unit) {
			return true
		}
	}
	return false
}
