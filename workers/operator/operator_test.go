package operator

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// configure writes a configuration for the broker at url. The password in it
// must reach no output.
func configure(t *testing.T, url string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "arauto.yaml")
	text := fmt.Sprintf("nats:\n  url: %s\n  user: topology\n  password: ${CANARY}\ntopology:\n  store: 1GiB\n", url)
	testbench.Must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const canary = "canary-4711"

// arauto runs the command as main does.
func arauto(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	env := func(name string) (string, bool) {
		value, ok := map[string]string{"CANARY": canary}[name]
		return value, ok
	}
	var out, problems bytes.Buffer
	code = Run(testbench.Context(t), args, env, &out, &problems)
	if strings.Contains(out.String()+problems.String(), canary) {
		t.Errorf("the password is in the output of %q", args)
	}
	return code, out.String(), problems.String()
}

func TestApplyMakesEverythingAndThenFindsNothingToDo(t *testing.T) {
	t.Parallel()
	b := testbench.StartEmpty(t)
	path := configure(t, b.URL)
	code, out, problems := arauto(t, "topology", "apply", "--config", path)
	if code != ExitDone || !strings.Contains(out, "mended: stream ORDERS is missing\n") {
		t.Fatalf("code %d, output %q, problems %q", code, out, problems)
	}
	settings := topology.Settings{Replicas: 1, Store: 1 << 30} // It has no account.
	if drift, err := topology.Diff(testbench.Context(t), b.JS, settings); err != nil || len(drift) != 0 {
		t.Errorf("after apply: drift %v, error %v", drift, err)
	}
	for _, c := range topology.Consumers(topology.Settings{Providers: providers.All.Names()}) {
		_, err := b.JS.Consumer(testbench.Context(t), c.Stream, c.Durable)
		if made := err == nil; made == ofProvider(c) {
			t.Errorf("consumer %s is made: %v (%v)", c.Durable, made, err)
		}
	}
	code, out, problems = arauto(t, "topology", "apply", "--config", path)
	if code != ExitDone || !strings.HasPrefix(out, "nothing to do") {
		t.Errorf("second time: code %d, output %q, problems %q", code, out, problems)
	}
	if code, out, problems = arauto(t, "topology", "diff", "--config", path); code != ExitDone || out != "no difference\n" {
		t.Errorf("diff: code %d, output %q, problems %q", code, out, problems)
	}
}

func TestDiffPrintsEachFieldThatDiffersAndExitsWith3(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, providers.All.Names()...)
	path := configure(t, b.URL)
	ctx := testbench.Context(t)
	stream, err := b.JS.Stream(ctx, subject.DeadLetters)
	testbench.Must(t, err)
	changed := stream.CachedInfo().Config
	changed.MaxAge *= 2
	if _, err := b.JS.UpdateStream(ctx, changed); err != nil {
		t.Fatal(err)
	}
	testbench.Must(t, b.JS.DeleteConsumer(ctx, subject.Statuses, subject.NormalizeConsumer))

	code, out, problems := arauto(t, "topology", "diff", "--config", path)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != ExitDrift || problems != "" || len(lines) != 2 ||
		!strings.HasPrefix(lines[0], "stream DEAD_LETTERS: max_age is ") || lines[1] != "consumer normalize of STATUSES is missing" {
		t.Errorf("code %d, problems %q, output:\n%s", code, problems, out)
	}

	code, out, _ = arauto(t, "topology", "diff", "--config", path, "--output", "json")
	var list []difference
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("output is not JSON: %v\n%s", err, out)
	}
	if code != ExitDrift || len(list) != 2 || list[0].Field != "max_age" || list[0].Have == list[0].Want ||
		list[1] != (difference{Object: "consumer normalize of STATUSES"}) {
		t.Errorf("code %d, differences %+v", code, list)
	}

	if code, _, problems = arauto(t, "topology", "apply", "--config", path); code != ExitDone {
		t.Fatalf("apply: code %d, problems %q", code, problems)
	}
	if code, out, _ = arauto(t, "topology", "diff", "--config", path, "--output", "json"); code != ExitDone || strings.TrimSpace(out) != "[]" {
		t.Errorf("after apply: code %d, output %q", code, out)
	}
}

func TestWrongCommandLinesAndConfigurationsExitWith2(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	testbench.Must(t, os.WriteFile(broken, []byte("nats:\n  ulr: nats://127.0.0.1:4222\n"), 0o600))
	for _, c := range []struct{ args, says string }{
		{"frobnicate", "unknown command"},
		{"topology", "apply or diff"},
		{"topology frobnicate", "takes no arguments"},
		{"topology diff --frobnicate", "unknown flag"},
		{"topology diff secret-pasted-here", "takes no arguments"},
		{"version --output xml", "write text or json"},
		{"topology diff --config " + broken, broken + ":2: "},
		{"topology apply --config " + broken + ".not", "cannot read the configuration"},
	} {
		code, out, problems := arauto(t, strings.Fields(c.args)...)
		if code != ExitRefused || out != "" || !strings.Contains(problems, c.says) || strings.Contains(problems, "secret-pasted") {
			t.Errorf("%s: code %d, output %q, problems %q", c.args, code, out, problems)
		}
	}
}

func TestBrokerThatIsAwayIsAFailure(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	testbench.Must(t, listener.Close())
	code, _, problems := arauto(t, "topology", "diff", "--config", configure(t, "nats://"+listener.Addr().String()))
	if code != ExitFailed || !strings.HasPrefix(problems, "connect to broker: ") {
		t.Errorf("code %d, problems %q", code, problems)
	}
}

func TestApplyRefusesABrokerThatIsTooOldAndSaysWhy(t *testing.T) {
	t.Parallel()
	path := configure(t, "nats://"+oldBroker(t))
	code, _, problems := arauto(t, "topology", "apply", "--config", path)
	if code != ExitFailed || !strings.Contains(problems, "nats-server 2.14.9 is too old, run 2.14.10 or newer: ") || !strings.Contains(problems, "reply subject") {
		t.Errorf("code %d, problems %q", code, problems)
	}
}

// oldBroker says hello as an old server would. No old server can be embedded
// beside the present one, and a client needs no more than this to connect.
func oldBroker(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close() //nolint:errcheck // The test looks at the client.
		_, _ = fmt.Fprint(conn, `INFO {"server_id":"OLD","version":"2.14.9","proto":1,"headers":true,"max_payload":1048576}`+"\r\n")
		lines := bufio.NewScanner(conn)
		for lines.Scan() {
			if lines.Text() == "PING" {
				_, _ = fmt.Fprint(conn, "PONG\r\n")
			}
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close() // It may have accepted already.
		<-done
	})
	return listener.Addr().String()
}

func TestVersionsAreComparedByNumber(t *testing.T) {
	t.Parallel()
	for version, accepted := range map[string]bool{
		"2.14.10": true, "2.14.11-RC.1": true, "2.15.3": true, "2.15.10": true, "2.16.0-RC.1": true, "2.16.0": true, "3.0.0": true,
		"2.14.9": false, "2.14.10-RC.1": false, "2.15.0-RC.1": false, "2.15.0": false, "2.15.1": false, "2.15.2": false,
		"2.15.3-RC.2": false, "2.9.25": false, "1.99.99": false, "": false, "2.15": false, "2.x.1": false,
	} {
		if err := checkVersion(version); (err == nil) != accepted {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

func TestVersionIsPrinted(t *testing.T) {
	t.Parallel()
	if code, out, _ := arauto(t, "version"); code != ExitDone || !strings.HasPrefix(out, "arauto ") {
		t.Errorf("code %d, output %q", code, out)
	}
}

func TestCommandEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	ctx, cancel := context.WithCancel(testbench.Context(t))
	cancel()
	env := func(name string) (string, bool) { return canary, name == "CANARY" }
	var out, problems bytes.Buffer
	if code := Run(ctx, []string{"topology", "diff", "--config", configure(t, b.URL)}, env, &out, &problems); code != ExitFailed {
		t.Errorf("code %d, output %q, problems %q", code, out.String(), problems.String())
	}
}
