package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/operator"
	"arauto/workers/workertest"
)

// nobody is the user of the images, who is in no list of users.
const nobody = 65532

// imageOf builds the operator's command with a version, where the Dockerfile puts
// it, into a folder that every user may read.
func imageOf(t *testing.T, version string) string {
	t.Helper()
	set := regexp.MustCompile(`-X (\S+)=\$VERSION`).FindStringSubmatch(read(t, "deploy/Dockerfile"))
	if set == nil {
		t.Fatal("the Dockerfile gives no VERSION to the linker")
	}
	dir := t.TempDir()
	for _, folder := range []string{dir, filepath.Dir(dir)} {
		testbench.Must(t, os.Chmod(folder, 0o755))
	}
	c := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X "+set[1]+"="+version, "-o", filepath.Join(dir, "arauto"), "./workers/cmd/arauto")
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

// image is the operator's command as it runs in a container: without a user, a
// home or any variable but those that are given.
type image struct {
	t   *testing.T
	ctx context.Context
	dir string
	env []string
}

func (i image) run(args ...string) (code int, stdout, stderr string) {
	i.t.Helper()
	c := exec.CommandContext(i.ctx, filepath.Join(i.dir, "arauto"), args...)
	c.Dir, c.Env = "/", slices.Concat([]string{"ARAUTO_CONFIG=" + filepath.Join(i.dir, "arauto.yaml")}, i.env)
	if os.Getuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	var out, problems bytes.Buffer
	c.Stdout, c.Stderr = &out, &problems
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		i.t.Fatalf("run arauto %q: %v", args, err)
	}
	return c.ProcessState.ExitCode(), out.String(), problems.String()
}

func TestImageOfTheOperatorWorksWithoutAUser(t *testing.T) {
	t.Parallel()
	i := image{t: t, dir: imageOf(t, "v1.2.3-4-gabcdef")}
	i.ctx = testbench.Context(t) // Building has no bound, a busy machine takes minutes.
	b := testbench.Start(t, providers.All.Names()...)
	i.prepare(b)
	for line, says := range map[string]string{
		"version": "arauto v1.2.3-4-gabcdef, go", "--version": "arauto v1.2.3-4-gabcdef, go", "version --output json": `"revision": "v1.2.3-4-gabcdef"`,
		"order show p-1": "parked", "dead list": "NOTIFICATIONS-7", "dead show NOTIFICATIONS-7": `"payment": "p-1"`,
		"circuit list": "no account was ever stopped", "topology diff": "no difference", "status": "NOTIFICATIONS",
		"replay --since 1ns --dry-run": "0 transitions",
	} {
		code, out, problems := i.run(strings.Fields(line)...)
		if (code != operator.ExitDone && line != "status") || code == operator.ExitFailed || !strings.Contains(out, says) || problems != "" {
			t.Errorf("arauto %s: code %d, output %q, problems %q", line, code, out, problems)
		}
	}
	changes := []string{
		"retry now p-1", "replay --payment p-1 --wait 1ms", "circuit open --provider sandbox --account default",
		"circuit close --provider sandbox --account default", "dead redrive NOTIFICATIONS-7", "dead discard NOTIFICATIONS-8",
	}
	for _, line := range changes {
		// Whoever runs this test as another user than root is in the system's list.
		if code, _, problems := i.run(strings.Fields(line)...); os.Getuid() == 0 && (code != operator.ExitRefused || !strings.Contains(problems, "ARAUTO_BY")) {
			t.Errorf("arauto %s by nobody: code %d, problems %q", line, code, problems)
		}
	}
	i.changes(b, changes)
}

// changes makes every change twice, by a name from the environment and by one of
// the command line, and looks who is written down.
func (i image) changes(b *testbench.Broker, lines []string) {
	i.t.Helper()
	audit, err := b.JS.Stream(i.ctx, subject.Audit)
	testbench.Must(i.t, err)
	i.env = []string{"ARAUTO_BY=ana"}
	for n, line := range lines {
		args, who := strings.Fields(line), "ana"
		if n%2 == 1 {
			args, who = append(args, "--by", "rui"), "rui"
		}
		if code, out, problems := i.run(args...); code != operator.ExitDone && code != operator.ExitPartly || problems != "" {
			i.t.Errorf("arauto %q: code %d, output %q, problems %q", args, code, out, problems)
		}
		raw, err := audit.GetLastMsgForSubject(i.ctx, "audit.>")
		testbench.Must(i.t, err)
		var entry record.Audit
		if err := json.Unmarshal(raw.Data, &entry); err != nil || entry.Who != who {
			i.t.Errorf("arauto %q is written down as %s", args, raw.Data)
		}
	}
	for _, name := range []string{"a\x1b[2J", strings.Repeat("x", 101)} {
		if code, _, problems := i.run("dead", "discard", "--all", "--by", name); code != operator.ExitRefused || strings.Contains(problems, name) {
			i.t.Errorf("by %q: code %d, problems %q", name, code, problems)
		}
	}
}

// prepare writes the configuration, and makes a payment that is parked and has
// two dead letters.
func (i image) prepare(b *testbench.Broker) {
	i.t.Helper()
	must := b.Must
	config := filepath.Join(i.dir, "arauto.yaml")
	must(os.WriteFile(config, fmt.Appendf(nil, "profile: local\nhash_key: %s\nnats: {url: %q}\ntopology: {store: 1GiB}\n"+
		"providers: {sandbox: {accounts: {default: {webhook_secrets: [hook], settings: {base_url: \"http://127.0.0.1:1\", token: token}}}}}\n", testbench.HashKey, b.URL), 0o600))
	if os.Getuid() == 0 {
		must(os.Chown(config, nobody, nobody))
	}
	bench := workertest.Bench{Bench: b.Bench}
	bench.Schedule(record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Cause: order.CauseNotification, Reason: "transport",
		DueAt: time.Now().Add(time.Hour).UTC(),
	})
	for _, sequence := range []uint64{7, 8} {
		bench.DeadLetter(sequence, record.DeadLetter{
			Class: record.ClassProvider, Stage: "lookup", Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1",
			Cause: "down", LastAnswer: "unavailable", Next: "redrive", At: time.Now().UTC(),
		})
	}
}
