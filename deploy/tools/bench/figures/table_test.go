package figures_test

import (
	"regexp"
	"testing"
	"time"

	"arauto/deploy/tools/bench/figures"
	"arauto/deploy/tools/bench/load"
)

func TestTableIsAlignedMarkdown(t *testing.T) {
	t.Parallel()
	table := figures.Table{
		Head: []string{"", "rate ÷ (a)", "n"}, Words: 1,
		Rows: [][]string{{"Arauto", "2.00", "1"}, {"void"}, {"é", "1", "1,000"}},
	}
	const want = `|        | rate ÷ (a) |     n |
| ------ | ---------: | ----: |
| Arauto |       2.00 |     1 |
| void   |            |       |
| é      |          1 | 1,000 |
`
	if got := table.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestMedianIsTheMiddle(t *testing.T) {
	t.Parallel()
	given := []float64{9, 1, 5}
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {given, 5}, {[]float64{4, 1, 100, 2}, 3}} {
		if got := figures.Median(c.values); got != c.want {
			t.Errorf("of %v it is %v, want %v", c.values, got, c.want)
		}
	}
	if given[0] != 9 {
		t.Error("it has sorted what it was given")
	}
}

func TestNumbersAreShort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{figures.Millis(1234 * time.Microsecond), "1.23"},
		{figures.Millis(12345 * time.Microsecond), "12.3"},
		{figures.Millis(1234567 * time.Microsecond), "1235"},
		{figures.Count(0), "0"},
		{figures.Count(999.6), "1,000"},
		{figures.Count(1234567), "1,234,567"},
		{figures.MiB(3 << 20), "3"},
		{figures.MiB(0), "-"},
		{figures.Bad(load.Report{}, load.Report{Everything: 5}), ""},
		{
			figures.Bad(load.Report{Statuses: map[int]uint64{503: 2}}, load.Report{Statuses: map[int]uint64{503: 1}, Errors: map[string]uint64{"read": 7}, Late: 4}),
			"void: 3 × 503, 4 × not sent, 7 × read",
		},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestMachineSaysWhatItIs(t *testing.T) {
	t.Parallel()
	got, err := figures.Machine(t.Context(), t.TempDir(), 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^\S.+, \d+ cores, \S.*, go\S+\. Disk: [^,]+, append 600 B and fsync p50 [\d.]+ ms, p99 [\d.]+ ms\. \d{4}-`).MatchString(got) {
		t.Error(got)
	}
	if _, err := figures.Machine(t.Context(), "/does/not/exist", time.Millisecond); err == nil {
		t.Error("a disk that is not there was measured")
	}
}
