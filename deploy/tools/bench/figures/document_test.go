package figures_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arauto/deploy/tools/bench/figures"
)

var order = []string{"machine", "core", "memory"}

// file writes a file and returns its name.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return name
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

const (
	before = "# Title\r\n\n## Figures\n\n| by hand |\n| --- |\n\n"
	after  = "\n\nBelow, <!-- figures of core -->\n by hand too.\n"
)

func TestWriterReplacesExactlyItsPart(t *testing.T) {
	t.Parallel()
	name := file(t, before+figures.Opening+"\nwhatever\n"+figures.Closing+after)
	write := func(parts ...figures.Part) {
		t.Helper()
		if err := figures.Write(name, parts, order); err != nil {
			t.Fatal(err)
		}
	}
	want := func(inside string) {
		t.Helper()
		if got := read(t, name); got != before+figures.Opening+inside+figures.Closing+after {
			t.Errorf("it says\n%s", got)
		}
	}
	write(figures.Part{Name: "memory", Text: "old memory\n\n"}, figures.Part{Name: "machine", Text: "a machine"})
	want("\n\n<!-- figures of machine -->\na machine\n\n<!-- figures of memory -->\nold memory\n\n")

	// What was not measured anew stays, and everything stands in its order.
	write(figures.Part{Name: "core", Text: "| a |\n\n| b |"}, figures.Part{Name: "machine", Text: "another"})
	all := "\n\n<!-- figures of machine -->\nanother\n\n<!-- figures of core -->\n| a |\n\n| b |\n\n<!-- figures of memory -->\nold memory\n\n"
	want(all)
	write()
	want(all)
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode is now %v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(name + ".*"); err != nil || len(left) > 0 {
		t.Errorf("it left %v behind, %v", left, err)
	}
}

func TestWriterFailsWithoutItsMarkers(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{
		"none":         before + after,
		"no closing":   before + figures.Opening + after,
		"no opening":   before + figures.Closing + after,
		"twice":        before + figures.Opening + figures.Closing + figures.Opening + figures.Closing + after,
		"opened twice": before + figures.Opening + figures.Opening + figures.Closing + after,
		"closed twice": before + figures.Opening + figures.Closing + figures.Closing + after,
		"swapped":      before + figures.Closing + figures.Opening + after,
	} {
		name := file(t, text)
		err := figures.Write(name, []figures.Part{{Name: "core", Text: "x"}}, order)
		if err == nil || !strings.Contains(err.Error(), figures.Closing) {
			t.Errorf("%s: %v", what, err)
		}
		if read(t, name) != text {
			t.Errorf("%s: the file has changed", what)
		}
	}
	if err := figures.Write(filepath.Join(t.TempDir(), "missing"), nil, order); err == nil {
		t.Error("no file: no error")
	}
}

// TestDocumentHasTheMarkers holds the real file, where the figures go.
func TestDocumentHasTheMarkers(t *testing.T) {
	t.Parallel()
	if err := figures.Write(file(t, read(t, "../../../FIGURES.md")), nil, order); err != nil {
		t.Error(err)
	}
}
