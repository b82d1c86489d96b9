package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
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
	"arauto/deploy/runtime/testbench"
)

// bin holds the real binaries, built once for all tests of this package.
var bin string

func TestMain(m *testing.M) {
	os.Exit(processtest.Main(m, &bin, "arauto/gateway", "arauto/workers/cmd/lookup", "arauto/workers/cmd/normalize",
		"arauto/deploy/tools/simulator", "arauto/deploy/tools/bench"))
}

// wrong are the outcomes of a request that a slow machine does not explain.
var wrong = regexp.MustCompile(`× ([1-3]\d\d|40[1-7]|connection|answer|store)`)

// clusterPart is measured by a test of its own: each of its cells starts three servers.
const clusterPart = "cluster"

func TestClusterIsMeasuredBothWays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "bench"), "-only", clusterPart, "-rounds", "1", "-for", "200ms", "-warm", "20ms",
		"-connections", "4", "-dir", dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, row := range []string{"Arauto ", "Arauto, one by one ", "Arauto's committer, no HTTP ", "the committer, one by one "} {
		if !regexp.MustCompile(`\| 4 +\| ` + row + ` *\| \d`).Match(out) {
			t.Errorf("no row of %s", row)
		}
	}
	if m := wrong.Find(out); m != nil || t.Failed() {
		t.Errorf("%s in\n%s", m, out)
	}
}

// TestBenchmarkMeasuresEveryPart runs all of it, as short as possible, but the cluster. It
// judges no figure, only that there is one: a machine under test is slow.
func TestBenchmarkMeasuresEveryPart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	document := filepath.Join(dir, "FIGURES.md")
	text := "above\n"
	quick := slices.DeleteFunc(slices.Clone(parts), func(part string) bool { return part == clusterPart })
	for _, part := range append([]string{"machine"}, quick...) {
		text += opening(part) + closing(part)
	}
	testbench.Must(t, os.WriteFile(document, []byte(text+"below\n"), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "bench"), "-rounds", "2", "-for", "200ms", "-warm", "20ms", "-connections", "4",
		"-only", strings.Join(quick, ","), "-crowd", "16", "-rates", "50", "-against", filepath.Join(bin, "gateway"),
		"-dir", filepath.Join(dir, "stores"), "-stage", filepath.Join(dir, "staged"), "-write", document)
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), progress.String())
	}
	data, err := os.ReadFile(document)
	testbench.Must(t, err)
	written := string(data)
	if !strings.HasPrefix(written, "above\n"+opening("machine")) || !strings.HasSuffix(written, closing("memory")+"below\n") {
		t.Errorf("the text around the figures has changed:\n%s", written)
	}
	for _, part := range quick {
		if !strings.Contains(written, opening(part)+"**") {
			t.Errorf("%s is missing", part)
		}
	}
	for _, row := range []string{
		`\| 4 +\| Arauto +\| +\d.*\| 1\.00 \(1\.00–1\.00\) `, `\| 4 +\| \(a\) Fiber.*\(\d`, `\| 4 +\| \(b\) net/http.*\(\d`,
		`\| 4 +\| \(c\) Arauto.*\(\d`, `\| 4 +\| \(d\) .*\(\d`,
		`\| 50 +\| [1-9].*(\| [1-9]\d* +){2}`, `(?m)\| 0 +\| \d[^|]*\|$`, `(?m)^(\| \d[^|]+){5}\| [^|]*\|$`,
	} {
		if !regexp.MustCompile(row).MatchString(written) {
			t.Errorf("no row is like %s", row)
		}
	}
	if m := wrong.FindString(written); m != "" || t.Failed() {
		t.Errorf("%s in\n%s\n%s", m, written, progress.String())
	}
	for _, folder := range []string{"stores", "staged"} {
		left, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil || len(left) > 0 {
			t.Errorf("it left %v behind, %v", left, err)
		}
	}
}

// TestNothingStaysWhenTheBenchmarkIsKilled kills it under load, with no chance
// to clean up, and as Ctrl-C does.
func TestNothingStaysWhenTheBenchmarkIsKilled(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"SIGKILL": syscall.SIGKILL, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			own, dir, staged := t.TempDir(), filepath.Join(t.TempDir(), "stores"), t.TempDir()
			for _, binary := range []string{"bench", "gateway"} {
				testbench.Must(t, os.Link(filepath.Join(bin, binary), filepath.Join(own, binary)))
			}
			cmd := exec.CommandContext(ctx, filepath.Join(own, "bench"), "-only", "memory", "-for", "1h", "-dir", dir, "-stage", staged)
			progress, err := cmd.StderrPipe()
			testbench.Must(t, err)
			testbench.Must(t, cmd.Start())
			defer func() {
				for pid := range processes(ctx, t, own) { // None, unless the test has failed.
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}()
			if line, err := bufio.NewReader(progress).ReadString('\n'); err != nil || !strings.Contains(line, "512 connections for 1h") {
				t.Fatalf("progress is %q, %v", line, err)
			}
			testbench.Until(t, "all processes to run", func() bool {
				running := processes(ctx, t, own)
				var all []string
				for _, args := range running {
					all = append(all, args)
				}
				text := strings.Join(all, "\n")
				return len(running) == 4 && strings.Contains(text, "gateway -config") && strings.Contains(text, "bench broker")
			})
			testbench.Must(t, cmd.Process.Signal(signal))
			_ = cmd.Wait() // Its error is the signal.
			testbench.Until(t, "its processes to end", func() bool { return len(processes(ctx, t, own)) == 0 })
			testbench.Until(t, "its folders to be removed", func() bool {
				left, err := os.ReadDir(dir)
				batches, missing := os.ReadDir(staged)
				return err == nil && missing == nil && len(left)+len(batches) == 0
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

func TestCommandLineIsChecked(t *testing.T) {
	t.Parallel()
	o, err := parse(strings.Fields("-rounds 2 -for 1s -connections 4,8 -only rivals,memory -rates 50"), io.Discard)
	if err != nil || o.rounds != 2 || o.window != time.Second || !slices.Equal(o.connections, []int{4, 8}) ||
		!slices.Equal(o.parts, []string{"rivals", "memory"}) || !slices.Equal(o.rates, []int{50}) {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := parse(nil, io.Discard); err != nil || !slices.Equal(o.parts, parts) {
		t.Errorf("%+v, %v", o, err)
	}
	for _, wrong := range []string{
		"-only machine", "-only everything", "-rounds 0", "-connections 8,x", "-connections 0", "-for -1s", "something", "-rates 1.5",
		"broker", "brokers", "rival", "rival vegeta nats://127.0.0.1:1", "-crowd 0",
	} {
		if err := run(t.Context(), strings.Fields(wrong)); err == nil {
			t.Errorf("%s is accepted", wrong)
		}
	}
	if _, err := parse([]string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}
