package conformance_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// TestEveryModuleIsVetted wants the target that runs a module's tests to vet it: `make lint` does
// so for the first module alone.
func TestEveryModuleIsVetted(t *testing.T) {
	t.Parallel()
	makefile, modules := read(t, "Makefile"), 0
	err := filepath.WalkDir(filepath.Join(root, "deploy"), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "go.mod" {
			return err
		}
		modules++
		module, err := filepath.Rel(root, filepath.Dir(name))
		vetted := regexp.MustCompile(`(?m)^\tcd ` + regexp.QuoteMeta(module) + ` && .* test .*-vet=all .*\./\.\.\.$`)
		if !vetted.MatchString(makefile) {
			t.Errorf("no target tests and vets all of %s", module)
		}
		return err
	})
	testbench.Must(t, err)
	if modules < 5 {
		t.Errorf("only %d modules were found", modules)
	}
}

// TestVulnerabilitiesAreSkippedOnlyWithoutTheDatabase puts a script in the place of Go, which
// answers for govulncheck: first for the modules, then for the code.
func TestVulnerabilitiesAreSkippedOnlyWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		modules, code string // What the scan says and does, in shell.
		fails         bool
		says          string
	}{
		"nothing found":    {"true", "echo the code is clean", false, "the code is clean"},
		"called":           {"echo exit status 3; exit 1", "echo a call; exit 1", true, "a call"},
		"not called":       {"echo exit status 3; exit 1", "echo the code is clean", false, "the code is clean"},
		"no database":      {"echo govulncheck: fetching vulnerabilities: no such host; echo exit status 1; exit 1", "exit 1", false, "SKIPPED, govulncheck: fetching vulnerabilities: no such host"},
		"no govulncheck":   {"echo go: module not found; exit 1", "exit 1", true, "go: module not found"},
		"code of no sense": {"echo govulncheck: loading packages; echo exit status 1; exit 1", "exit 1", true, "loading packages"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := filepath.Join(t.TempDir(), "go")
			text := "case \"$*\" in *-scan\\ module*) " + c.modules + ";; *) " + c.code + ";; esac\n"
			testbench.Must(t, os.WriteFile(script, []byte(text), 0o600))
			run := exec.CommandContext(testbench.Context(t), "make", "--no-print-directory", "vuln", "GO=sh "+script)
			run.Dir = root
			out, err := run.CombinedOutput()
			skipped := strings.Contains(string(out), "SKIPPED")
			if (err != nil) != c.fails || !strings.Contains(string(out), c.says) || skipped != strings.HasPrefix(c.says, "SKIPPED") {
				t.Errorf("make vuln ends with %v:\n%s", err, out)
			}
		})
	}
}
