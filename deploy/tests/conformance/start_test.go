package conformance_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
)

// TestDeploymentStartsAsWritten starts the real binaries with the broker's
// configuration, the example configuration and the environment that
// compose.yaml gives each service. Nothing but addresses is changed.
func TestDeploymentStartsAsWritten(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	b := start(t, func(o *server.Options) { o.HTTPPort = server.RANDOM_PORT })
	bin, services := built(ctx, t), composeFile(t).Services
	applyTopology(ctx, t, b, bin)
	var shown strings.Builder
	for _, role := range []string{config.RoleGateway, config.RoleLookup, config.RoleNormalize, config.RoleSweep, config.RoleExpect, config.RoleConsole} {
		p := launch(t, command(ctx, t, b, bin, role, services[role]))
		p.awaitReady(ctx)
		p.holdAdminToContract(ctx, role)
		if role == config.RoleGateway {
			if said := p.get(ctx, "/durability"); !strings.Contains(said, `"claim": "power-loss"`) {
				t.Errorf("a 200 of the deployment as written means: %s", said)
			}
		}
		metrics := p.get(ctx, "/metrics")
		if role == config.RoleSweep {
			metrics = p.levels(ctx)
		}
		shown.WriteString(metrics)
		if strings.Contains(metrics, "arauto_consumer_scrape_errors_total{") != (role != config.RoleGateway && role != config.RoleConsole) {
			t.Errorf("%s has the metrics:\n%s", role, metrics)
		} else if failed := scrapeError.FindString(metrics); failed != "" {
			t.Errorf("%s may not read its consumers: %s", role, failed)
		}
		p.stop()
	}
	checkAlarms(t, shown.String())
	for _, line := range b.trace.refusals() {
		t.Errorf("the broker refused: %s", line)
	}
}

// built is a folder with the real binaries.
func built(ctx context.Context, t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	goBuild := exec.CommandContext(ctx, "go", "build", "-o", bin+string(filepath.Separator),
		"./gateway", "./workers/cmd/...")
	goBuild.Dir = root
	if out, err := goBuild.CombinedOutput(); err != nil {
		t.Fatalf("build binaries: %v\n%s", err, out)
	}
	return bin
}

// applyTopology does what the deployment's own service for it does.
func applyTopology(ctx context.Context, t *testing.T, b *broker, bin string) {
	t.Helper()
	service := composeFile(t).Services["topology"]
	topology := command(ctx, t, b, bin, "arauto", service)
	topology.Args = append(topology.Args, atExample(t, service.Command)...)
	if out, err := topology.CombinedOutput(); err != nil {
		t.Fatalf("apply topology: %v\n%s", err, out)
	}
}

// command is a service's process with the service's environment.
func command(ctx context.Context, t *testing.T, b *broker, bin, binary string, s service) *exec.Cmd {
	t.Helper()
	values := filled(t)
	for _, role := range roles {
		values[passwordVariable(role)] = password(role)
	}
	environment := given(t, values, s)
	environment["NATS_URL"] = b.server.ClientURL()
	environment["NATS_MONITOR_URL"] = "http://" + b.server.MonitorAddr().String()
	for name, local := range map[string]string{
		"ADMIN_LISTEN": "127.0.0.1:0", "GATEWAY_LISTEN": "127.0.0.1:0", "CONSOLE_LISTEN": "127.0.0.1:0", "CONSOLE_INDEX": t.TempDir(), "ARAUTO_CONFIG": example(t),
	} {
		if _, given := environment[name]; given {
			environment[name] = local
		}
	}
	c := exec.CommandContext(ctx, filepath.Join(bin, binary))
	c.Env = []string{}
	for name, value := range environment {
		c.Env = append(c.Env, name+"="+value)
	}
	return c
}

// atExample is a command line that reads the example where it would read the
// configuration that the operator has made from it.
func atExample(t *testing.T, args []string) []string {
	t.Helper()
	var changed []string
	for _, arg := range args {
		changed = append(changed, strings.Replace(arg, "/etc/arauto/arauto.yaml", example(t), 1))
	}
	return changed
}

// launched is a running process of a role.
type launched struct {
	t     *testing.T
	cmd   *exec.Cmd
	admin string
	rest  chan []byte // What it logged after its first line; closed at the end.
}

// launch starts a process and reads the address of its admin listener off its
// first log line.
func launch(t *testing.T, cmd *exec.Cmd) *launched {
	t.Helper()
	logs, err := cmd.StderrPipe()
	testbench.Must(t, err)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	p := &launched{t: t, cmd: cmd, rest: make(chan []byte, 1)}
	reader := bufio.NewReader(logs)
	var starting struct {
		Admin string `json:"admin"`
	}
	for starting.Admin == "" {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			t.Fatalf("%s ended early: %s", filepath.Base(cmd.Path), line)
		}
		if err := json.Unmarshal(line, &starting); err != nil {
			others, _ := io.ReadAll(reader)
			t.Fatalf("%s says: %s%s", filepath.Base(cmd.Path), line, others)
		}
	}
	p.admin = starting.Admin
	go func() {
		others, _ := io.ReadAll(reader)
		p.rest <- others
	}()
	return p
}

// scrapeError is a count of consumers that could not be read, other than 0.
var scrapeError = regexp.MustCompile(`arauto_consumer_scrape_errors_total\{.*\} [1-9].*`)

// awaitReady returns when the process says that it can work.
func (p *launched) awaitReady(ctx context.Context) {
	p.t.Helper()
	said := ""
	if !testbench.Poll(ctx, func() bool { said = p.get(ctx, "/readyz"); return strings.HasPrefix(said, "200 ") }) {
		p.t.Fatalf("%s is not ready: %s", filepath.Base(p.cmd.Path), said)
	}
}

// get asks the admin listener and returns status and body.
func (p *launched) get(ctx context.Context, path string) string {
	p.t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+path, nil)
	testbench.Must(p.t, err)
	answer, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return answer.Status + " " + string(body)
}

// stop ends the process as compose does, and expects a clean end. It returns
// what the process logged.
func (p *launched) stop() []byte {
	p.t.Helper()
	testbench.Must(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	logged := <-p.rest
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s did not stop cleanly: %v\n%s", filepath.Base(p.cmd.Path), err, logged)
	}
	if !strings.Contains(string(logged), "stopped") {
		p.t.Errorf("%s did not say that it stopped:\n%s", filepath.Base(p.cmd.Path), logged)
	}
	return logged
}
