package conformance_test

import (
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

func TestEveryBinarySaysItsVersion(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	mains := regexp.MustCompile(`(?m)^MAINS = (.*)$`).FindStringSubmatch(read(t, "Makefile"))
	if mains == nil {
		t.Fatal("the Makefile names no binaries")
	}
	bin := t.TempDir()
	build := exec.CommandContext(ctx, "go", append([]string{"build", "-o", bin + string(filepath.Separator)}, strings.Fields(mains[1])...)...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, main := range strings.Fields(mains[1]) {
		name := path.Base(main)
		out, err := exec.CommandContext(ctx, filepath.Join(bin, name), "-version").CombinedOutput()
		if line := string(out); err != nil || !strings.HasPrefix(line, name+" ") || !strings.HasSuffix(line, ", "+runtime.Version()+"\n") {
			t.Errorf("%s -version: %q, %v", name, line, err)
		}
	}
}
