package conformance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
)

// installed are the binaries that the units name, which the machine of a test has not.
var installed = regexp.MustCompile(`/usr/local/bin/[a-z%-]+`)

func TestUnitsAreAcceptedBySystemd(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED: systemd-analyze is not on this machine, so systemd does not check its units") //nolint:forbidigo // Not every system has systemd, and the reason is shown.
	}
	folder := t.TempDir()
	files, err := filepath.Glob(root + "/deploy/systemd/*")
	testbench.Must(t, err)
	args := []string{"verify", "--man=no"}
	for _, file := range files {
		name := strings.Replace(filepath.Base(file), "@.", "@"+config.RoleLookup+".", 1)
		text := installed.ReplaceAllString(read(t, "deploy/systemd/"+filepath.Base(file)), "/bin/true")
		testbench.Must(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
		args = append(args, filepath.Join(folder, name))
	}
	if len(files) < 6 {
		t.Errorf("only %d units", len(files))
	}
	c := exec.CommandContext(testbench.Context(t), analyze, args...)
	c.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+folder+":")
	out, err := c.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, folder) || strings.Contains(line, "arauto") || strings.Contains(line, "nats") {
			t.Errorf("systemd says: %s", line)
		}
	}
	if err != nil {
		t.Errorf("systemd refuses the units: %v\n%s", err, out)
	}
}

// The socket has the name under which the gateway looks for it, and a role that refuses its
// configuration is not started again.
func TestUnitsFitTheBinaries(t *testing.T) {
	t.Parallel()
	socket := read(t, "deploy/systemd/arauto-gateway.socket")
	if !strings.Contains(socket, "\nFileDescriptorName="+config.RoleGateway+"\n") {
		t.Error("the gateway does not find its socket")
	}
	for _, unit := range []string{"arauto-gateway.service", "arauto@.service"} {
		lines := strings.Split(read(t, "deploy/systemd/"+unit), "\n")
		for _, want := range []string{"RestartPreventExitStatus=2", "TimeoutStopSec=30", "NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes"} {
			if !slices.Contains(lines, want) {
				t.Errorf("%s has no line %s", unit, want)
			}
		}
	}
}
