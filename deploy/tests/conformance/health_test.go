package conformance_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
)

// healthy runs the health check of compose.yaml as its container does.
func healthy(t *testing.T, monitor, store string) error {
	t.Helper()
	return checkup(t, monitor, store, "").Run()
}

// checkup is the health check of compose.yaml, with the broker's addresses and the
// command that restarts it. It has no terminal, and the image's own programs.
func checkup(t *testing.T, monitor, store, restart string) *exec.Cmd {
	t.Helper()
	nats := composeFile(t).Services["nats"]
	const mounted = "/etc/nats/nats-health.sh"
	if check := nats.Healthcheck.Test; !slices.Equal(check, []string{"CMD", "/bin/sh", mounted}) || !slices.Contains(nats.Volumes, "./nats-health.sh:"+mounted+":ro") {
		t.Fatalf("the health check is %v, and the volumes are %v", check, nats.Volumes)
	}
	if strings.Contains(strings.Join(nats.Command, " "), "/bin/sh") || nats.Entrypoint != nil {
		t.Fatal("process 1 is not the broker, so to end it does not restart the broker")
	}
	self, err := os.Executable()
	testbench.Must(t, err)
	bin := t.TempDir()
	for _, program := range []string{"wget", "nc"} {
		testbench.Must(t, os.Symlink(self, filepath.Join(bin, program)))
	}
	command := exec.CommandContext(t.Context(), "/bin/sh", filepath.Join(root, "deploy", "nats-health.sh"))
	command.Env = []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "NATS_STORE=" + store, "NATS_MONITOR=" + monitor, "NATS_RESTART=" + restart}
	return command
}

// fullDisk is a folder with a df that says that 60 MiB are free.
func fullDisk(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	df := "#!/bin/sh\nprintf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\n/dev/x 100000 38560 61440 39%% %s\\n' \"$2\"\n"
	if err := os.WriteFile(filepath.Join(bin, "df"), []byte(df), 0o700); err != nil { //nolint:gosec // It is to be run.
		t.Fatal(err)
	}
	return bin
}

// TestBrokerWithAWriteErrorIsRestartedOnceThereIsRoom fills the disk of a real broker.
func TestBrokerWithAWriteErrorIsRestartedOnceThereIsRoom(t *testing.T) {
	t.Parallel()
	f := processtest.StartFillable(t)
	monitor, store := strings.TrimPrefix(f.Monitor, "http://"), t.TempDir()
	for _, s := range topology.Streams(topology.Settings{}) {
		stream := filepath.Join(store, "jetstream", "ARAUTO", "streams", s.Name)
		testbench.Must(t, os.MkdirAll(stream, 0o700))
		testbench.Must(t, os.WriteFile(filepath.Join(stream, "meta.inf"), nil, 0o600))
	}
	kill := "kill -9 " + strconv.Itoa(f.Process.Pid)
	if said, err := checkup(t, monitor, store, kill).CombinedOutput(); err != nil {
		t.Fatalf("at first it says %q, %v", said, err)
	}
	f.Fill()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // It never answers.
	defer cancel()
	if _, err := f.JS.Publish(ctx, "notifications.sandbox.default.p", []byte("{}")); err == nil {
		t.Fatal("the disk is not full")
	}
	full := checkup(t, monitor, store, kill)
	full.Env[0] = "PATH=" + fullDisk(t) + string(os.PathListSeparator) + strings.TrimPrefix(full.Env[0], "PATH=")
	if said, err := full.CombinedOutput(); err == nil || !strings.Contains(string(said), "the disk has no room") {
		t.Errorf("on the full disk it says %q, %v", said, err)
	}
	f.Free()
	if said, err := checkup(t, monitor, store, kill).CombinedOutput(); err == nil || !strings.Contains(string(said), "the broker is restarted") {
		t.Errorf("when there is room again it says %q, %v", said, err)
	}
	f.Await(testbench.Context(t))
	f.Start()
	testbench.Until(t, "it is healthy after the restart", func() bool { return healthy(t, monitor, store) == nil })
}
