package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/bench/load"
)

// measured is a cell of one second with that many requests, which all took
// that long.
func measured(requests int, took time.Duration) cell {
	r := load.Report{Window: time.Second, Accepted: load.NewLatency()}
	for range requests {
		r.Accepted.Add(took)
	}
	return cell{Report: r, cpu: []float64{250, 500.4}}
}

// TestRatiosAreTakenRoundByRound: a machine that is slow in one round is slow
// for every system in it.
func TestRatiosAreTakenRoundByRound(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	ours := []cell{measured(4000, 10*ms), measured(500, 80*ms), measured(9000, 5*ms)}
	rival := []cell{measured(2000, 20*ms), measured(100, 100*ms), measured(3000, 20*ms)}
	rival[1].Failed = map[string]int{"503": 2, "timeout": 1}
	want := []string{
		"2000 (100–3000)", "20.0 (20.0–100)", "20.0 (20.0–100)", "250 + 500", "3.00 (2.00–5.00)", "0.50 (0.25–0.80)", "2 × 503, 1 × timeout",
	}
	if got := compare(rival, ours); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := compare(rival[:1], ours[:1]); got[0] != "2000" || got[4] != "2.00" || got[6] != "" {
		t.Errorf("of one round: %q", got)
	}
}

func TestMedianIsTheMiddle(t *testing.T) {
	t.Parallel()
	for want, values := range map[float64][]float64{3: {9, 1, 3}, 2: {1, 3}, 7: {7}, 2.5: {4, 1, 2, 3}} {
		if got := median(values); got != want {
			t.Errorf("of %v it is %v", values, got)
		}
	}
	for v, want := range map[float64]string{0: "0.00", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 12345: "12345"} {
		if got := number(v); got != want {
			t.Errorf("%v is written %s", v, got)
		}
	}
}

func TestTableIsMarkdown(t *testing.T) {
	t.Parallel()
	want := "| a   | longer |\n| --- | ---    |\n| ÷   | 1      |\n| 2   |        |\n"
	if got := table([]string{"a", "longer"}, [][]string{{"÷", "1"}, {"2"}}); got != want {
		t.Errorf("got\n%s", got)
	}
}

// document writes a file and returns its name.
func document(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "FIGURES.md")
	testbench.Must(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	testbench.Must(t, err)
	return string(data)
}

func TestWriterReplacesTheMeasuredPartsOnly(t *testing.T) {
	t.Parallel()
	before, between := "# Title\r\n\n| by hand |\n"+opening("rivals"), closing("rivals")+"\nby hand\n"+opening("memory")
	name := document(t, before+"old\n"+between+"old memory\n"+closing("memory")+"\nend")
	testbench.Must(t, writeFigures(name, map[string]string{"rivals": "**new**\n\n| a |\n\n"}))
	if got, want := read(t, name), before+"**new**\n\n| a |\n"+between+"old memory\n"+closing("memory")+"\nend"; got != want {
		t.Errorf("it is\n%s", got)
	}
	if left, err := filepath.Glob(name + ".*"); err != nil || len(left) > 0 {
		t.Errorf("it left %v behind, %v", left, err)
	}
}

func TestWriterFailsWithoutItsMarkers(t *testing.T) {
	t.Parallel()
	begin, end := opening("memory"), closing("memory")
	for what, text := range map[string]string{
		"none": "text", "no closing": begin, "no opening": end, "twice": begin + end + begin + end,
		"opened twice": begin + begin + end, "closed twice": begin + end + end, "swapped": end + begin,
	} {
		name := document(t, text)
		if err := writeFigures(name, map[string]string{"memory": "x"}); err == nil || !strings.Contains(err.Error(), "end of memory") {
			t.Errorf("%s: %v", what, err)
		}
		if read(t, name) != text {
			t.Errorf("%s: the file has changed", what)
		}
	}
	if err := writeFigures(filepath.Join(t.TempDir(), "missing"), nil); err == nil {
		t.Error("no file: no error")
	}
}

// TestDocumentHasTheMarkers tries to write every part into a copy of the real
// document.
func TestDocumentHasTheMarkers(t *testing.T) {
	t.Parallel()
	all := map[string]string{"machine": "x"}
	for _, part := range parts {
		all[part] = "x"
	}
	if err := writeFigures(document(t, read(t, "../../FIGURES.md")), all); err != nil {
		t.Error(err)
	}
}
