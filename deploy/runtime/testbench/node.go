package testbench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// NodeFolder is a folder with packages of npm in it.
type NodeFolder struct{ Folder string }

// Node installs packages of npm, each with its version, into a folder of the test's own. The
// test is skipped where Node, npm or a package is not to be had, and says which.
func Node(t testing.TB, packages ...string) NodeFolder {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: this machine has no %s, so %v were not tried", tool, packages) //nolint:forbidigo // Only a machine with npm can run it, and the reason is shown.
		}
	}
	n := NodeFolder{Folder: t.TempDir()}
	Must(t, os.WriteFile(filepath.Join(n.Folder, "package.json"), []byte(`{"private": true}`), 0o600))
	install := exec.CommandContext(Context(t), "npm", append([]string{
		"install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--prefer-offline", "--fetch-retries=1", "--loglevel=error",
	}, packages...)...)
	install.Dir = n.Folder
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: npm could not install %v: %v\n%s", packages, err, out) //nolint:forbidigo // As above: a registry may be out of reach.
	}
	return n
}

// Command runs a script in the folder with Node.
func (n NodeFolder) Command(ctx context.Context, script string, arguments ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "node", append([]string{script}, arguments...)...)
	c.Dir = n.Folder
	return c
}
