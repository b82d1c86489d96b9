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
	if len(files) < 7 {
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
	for unit, own := range map[string]string{
		"arauto-gateway.service": "TimeoutStopSec=30", "arauto@.service": "TimeoutStopSec=30",
		"arauto-topology.service": "ExecStart=/usr/local/bin/arauto topology apply --config /etc/arauto/arauto.yaml",
	} {
		lines := strings.Split(read(t, "deploy/systemd/"+unit), "\n")
		for _, want := range []string{own, "RestartPreventExitStatus=2", "NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes"} {
			if !slices.Contains(lines, want) {
				t.Errorf("%s has no line %s", unit, want)
			}
		}
	}
}

// TestDocumentedStartAppliesTheTopology wants the streams to be made after the broker has started
// and before the roles, which else wait for them without end.
func TestDocumentedStartAppliesTheTopology(t *testing.T) {
	t.Parallel()
	for document, steps := range map[string][]string{
		"deploy/OPERATING.md": {"\nsystemctl enable --now nats ", "\nsystemctl start arauto-topology ", "\nsystemctl enable --now arauto-gateway.socket "},
		"deploy/BYHAND.md":    {"\nbin/nats-server ", " bin/arauto topology apply\n", " bin/gateway 2>"},
	} {
		text, before := read(t, document), 0
		for _, step := range steps {
			at := strings.Index(text, step)
			if at < before {
				t.Errorf("%s has the step %q at %d, and the step before it at %d", document, step, at, before)
			}
			before = at
		}
	}
}

// started finds what a documented command of systemctl starts.
var started = regexp.MustCompile(`(?m)^systemctl (?:enable --now|start) ([^#\n]+)`)

func TestDocumentedUnitsExist(t *testing.T) {
	t.Parallel()
	named := 0
	for _, m := range started.FindAllStringSubmatch(read(t, "deploy/OPERATING.md"), -1) {
		for _, unit := range strings.Fields(m[1]) {
			named++
			template, _, isTemplate := strings.Cut(unit, "@")
			if isTemplate {
				unit = template + "@"
			}
			if filepath.Ext(unit) == "" {
				unit += ".service"
			}
			if _, err := os.Stat(root + "/deploy/systemd/" + unit); err != nil {
				t.Errorf("a command starts a unit that is not there: %v", err)
			}
		}
	}
	if named < 9 {
		t.Errorf("only %d units are started", named)
	}
}
