package main

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/tools/bench/figures"
	"arauto/deploy/tools/bench/measure"
)

// bin holds the real binaries, built once for all tests of this package.
var bin string

func TestMain(m *testing.M) {
	os.Exit(processtest.Main(m, &bin, "arauto/gateway", "arauto/workers/cmd/lookup", "arauto/workers/cmd/normalize",
		"arauto/deploy/tools/simulator", "arauto/deploy/tools/bench"))
}

// wrong are the ends of a request that a slow machine does not explain.
var wrong = regexp.MustCompile(`void.* × ([1-4]\d\d|connect|write|read|answer|store)`)

// TestBenchmarkMeasuresEveryPart runs all of it, as short as it goes. It
// judges no figure, only that there is one: a machine under test is slow.
func TestBenchmarkMeasuresEveryPart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	document := filepath.Join(dir, "README.md")
	if err := os.WriteFile(document, []byte("above\n"+figures.Opening+"\n"+figures.Closing+"\nbelow\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "bench"), "-all", "-rounds", "1", "-for", "200ms", "-warm", "20ms",
		"-connections", "4", "-crowd", "16", "-rates", "50", "-steps", "0", "-workers", "1", "-settle", "1ms",
		"-dir", filepath.Join(dir, "stores"), "-elsewhere", filepath.Join(dir, "elsewhere"), "-stage", filepath.Join(dir, "memory"), "-write", document)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), said.String())
	}
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	written := string(data)
	if !strings.HasPrefix(written, "above\n"+figures.Opening) || !strings.HasSuffix(written, figures.Closing+"\nbelow\n") {
		t.Errorf("what is around the figures has changed:\n%s", written)
	}
	for _, part := range append(measure.Parts(), "elsewhere") {
		if !strings.Contains(written, "<!-- figures of "+part+" -->\n**") {
			t.Errorf("%s is missing", part)
		}
	}
	for _, row := range []string{
		`\| 4 +\| Arauto +\| +(\d|void)`, `\| 4 +\| \(a\) Fiber`, `\| 4 +\| \(b\) net/http`, `\| 4 +\| \(c\) Arauto`, `\| 4 +\| \(d\) Fiber`,
		`\| 1 \+ 1 +\| +50 \| +[1-9]`, `(?m)\| +0 \| +\d+ \|$`, `\| 200ms +\| +(\d|void)`,
	} {
		if !regexp.MustCompile(row).MatchString(written) {
			t.Errorf("no row is like %s", row)
		}
	}
	if m := wrong.FindString(written); m != "" || t.Failed() {
		t.Errorf("%s in\n%s\n%s", m, written, said.String())
	}
	for _, stores := range []string{"stores", "elsewhere", "memory"} {
		left, err := os.ReadDir(filepath.Join(dir, stores))
		if err != nil || len(left) > 0 {
			t.Errorf("it left %v behind, %v", left, err)
		}
	}
}

// TestNothingStaysWhenTheBenchmarkIsKilled kills it in the middle of its
// work, with no chance to clean up, and as Ctrl-C does.
func TestNothingStaysWhenTheBenchmarkIsKilled(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"SIGKILL": syscall.SIGKILL, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			own, dir, memory := t.TempDir(), filepath.Join(t.TempDir(), "stores"), t.TempDir()
			for _, binary := range []string{"bench", "gateway"} {
				if err := os.Link(filepath.Join(bin, binary), filepath.Join(own, binary)); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(ctx, filepath.Join(own, "bench"), "-only", "memory", "-for", "1h", "-dir", dir, "-stage", memory)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				for pid := range processes(ctx, t, own) { // None, unless the test has failed.
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}()
			await(ctx, t, "the load to run", func() bool {
				running := strings.Join(slices.Collect(maps.Values(processes(ctx, t, own))), "\n")
				return strings.Contains(running, "bench load") && strings.Contains(running, "-for 1h") &&
					strings.Contains(running, "gateway -config") && strings.Contains(running, "bench broker")
			})
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // It says that it was killed.
			await(ctx, t, "its processes to end", func() bool { return len(processes(ctx, t, own)) == 0 })
			await(ctx, t, "its folders to be removed", func() bool {
				left, err := os.ReadDir(dir)
				staged, missing := os.ReadDir(memory)
				return err == nil && missing == nil && len(left)+len(staged) == 0
			})
		})
	}
}

// processes are the command lines of the processes whose binary is in the
// folder, by their id.
func processes(ctx context.Context, t *testing.T, folder string) map[int]string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(ctx), "ps", "-A", "-ww", "-o", "pid=", "-o", "stat=", "-o", "args=").Output()
	if err != nil {
		t.Fatalf("list processes: %v", err)
	}
	found := map[int]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || !strings.HasPrefix(fields[2], folder) || strings.HasPrefix(fields[1], "Z") {
			continue
		}
		pid, err := strconv.Atoi(fields[0])
		if err != nil {
			t.Fatalf("list processes: %v", err)
		}
		found[pid] = strings.Join(fields[2:], " ")
	}
	return found
}

func await(ctx context.Context, t *testing.T, what string, done func() bool) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
