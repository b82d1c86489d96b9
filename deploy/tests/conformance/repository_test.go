package conformance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is the repository's folder, seen from this package.
const root = "../../.."

// read returns a file of the repository, named by its path from the root.
func read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return string(data)
}

// goVersion is the version that go.mod asks for, such as 1.26.
func goVersion(t testing.TB) string {
	t.Helper()
	for line := range strings.Lines(read(t, "go.mod")) {
		if version, ok := strings.CutPrefix(strings.TrimSpace(line), "go "); ok {
			parts := strings.Split(version, ".")
			return strings.Join(parts[:min(2, len(parts))], ".")
		}
	}
	t.Fatal("go.mod names no version of Go")
	return ""
}

// moduleVersion is the version of a module that go.mod requires.
func moduleVersion(t testing.TB, module string) string {
	t.Helper()
	for line := range strings.Lines(read(t, "go.mod")) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module {
			return fields[1]
		}
	}
	t.Fatalf("go.mod does not require %s", module)
	return ""
}
