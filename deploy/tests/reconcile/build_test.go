package reconcile_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// previous is the commit that this tree upgrades from, and may be rolled back to: the last
// landed commit. Raise it to the commit in use once that has landed. PREVIOUS, as in
// make upgrade PREVIOUS=v1.2.3, names another commit.
const previous = "fd0910baa8fdb30a2419c43c3e38b38d3fc692f8"

// binaries are one build of them all.
type binaries struct {
	bin    string
	config string // The configuration of its roles.
	tree   string // Its sources.
}

// ofOld ends the name of a process of the earlier build.
const ofOld = "@old"

// olds are the names of the same processes in the earlier build.
func olds(names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = name + ofOld
	}
	return all
}

func roleOf(name string) string { return strings.TrimSuffix(name, ofOld) }

// buildOf is the binary of a process, and the build that it is of.
func (p *plant) buildOf(name string) (binary string, of binaries) {
	if role := roleOf(name); role != name {
		return role, *p.old
	}
	return name, p.this()
}

// section prints the providers' section of a configuration as the earlier build takes it.
const section = `package main

import (
	"fmt"
	"os"

	"arauto/deploy/tools/simulator/api"
)

func main() { fmt.Print(api.Configuration(os.Args[1])) }
`

// buildPrevious builds the roles and the operator's command of the earlier commit. It skips
// the test where the commit cannot be had.
func (p *plant) buildPrevious() {
	p.t.Helper()
	commit := previous
	if given := os.Getenv("PREVIOUS"); given != "" {
		commit = given
	}
	tree := checkout(p.t, commit)
	probe := filepath.Join(tree, "deploy", "tools", "section")
	testbench.Must(p.t, os.MkdirAll(probe, 0o700))
	testbench.Must(p.t, os.WriteFile(filepath.Join(probe, "main.go"), []byte(section), 0o600))
	p.old = &binaries{bin: p.t.TempDir(), config: filepath.Join(p.dir, "arauto-old.yaml"), tree: tree}
	args := []string{"build", "-o", p.old.bin + string(filepath.Separator), "./deploy/tools/section", "./workers/cmd/arauto", "./gateway"}
	for _, role := range roles()[1:] {
		args = append(args, "./workers/cmd/"+role)
	}
	compile := exec.CommandContext(p.ctx, "go", args...)
	compile.Dir = tree
	if out, err := compile.CombinedOutput(); err != nil {
		p.t.Fatalf("build commit %s: %v\n%s", commit, err, out)
	}
}

// checkout writes the tree of a commit into a folder of the test's.
func checkout(t *testing.T, commit string) string {
	t.Helper()
	git := func(args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), "git", append([]string{"-C", root}, args...)...)
	}
	if out, err := git("rev-parse", "--verify", "--quiet", commit+"^{commit}").CombinedOutput(); err != nil {
		//nolint:forbidigo // A shallow clone cannot have the commit, and the reason is shown.
		t.Skipf("commit %s is not here, so no upgrade from it can be shown: a shallow clone needs `git fetch --unshallow`, "+
			"and without git or a clone PREVIOUS cannot be built (%v %s)", commit, err, out)
	}
	tree := t.TempDir()
	archive, unpack := git("archive", commit), exec.CommandContext(t.Context(), "tar", "-x", "-C", tree)
	pipe, err := archive.StdoutPipe()
	testbench.Must(t, err)
	var said bytes.Buffer
	unpack.Stdin, archive.Stderr = pipe, &said
	testbench.Must(t, archive.Start())
	unpacked := unpack.Run()
	if err := archive.Wait(); err != nil || unpacked != nil {
		t.Fatalf("unpack commit %s: %v, %v\n%s", commit, err, unpacked, said.String())
	}
	return tree
}

// sectioned finds the providers of a section.
var sectioned = regexp.MustCompile(`(?m)^  ([a-z-]+):$`)

// configureOld writes the configuration of the earlier build, and returns the providers that
// both builds know.
func (p *plant) configureOld() (both provider.Set) {
	p.t.Helper()
	text, err := exec.CommandContext(p.ctx, filepath.Join(p.old.bin, "section"), "http://"+p.sim.Addr().String()).Output() //nolint:gosec // The test has built it.
	testbench.Must(p.t, err)
	testbench.Must(p.t, os.WriteFile(p.old.config, []byte(configurationOf(string(text), 1)), 0o600))
	var names []string
	for _, m := range sectioned.FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	for _, one := range providers.All {
		if slices.Contains(names, one.Name) {
			both = append(both, one)
		}
	}
	return both
}

// operate runs the operator's command of a build, as a user of the broker.
func (p *plant) operate(of binaries, user string, args ...string) ([]byte, error) {
	c := exec.CommandContext(p.ctx, filepath.Join(of.bin, "arauto"), args...) //nolint:gosec // The test has built it.
	c.Env = append(os.Environ(), "NATS_URL="+p.urls(), "NATS_MONITOR_URL="+p.monitors(), "NATS_USER="+user, "NATS_PASSWORD="+user+"pw",
		"ARAUTO_CONFIG="+of.config, "ARAUTO_BY=tester")
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("arauto %s: %w\n%s", strings.Join(args, " "), err, said.String())
	}
	return out, err
}
