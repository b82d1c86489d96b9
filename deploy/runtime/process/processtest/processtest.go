// Package processtest lets tests run the real binaries as processes: it builds them, runs
// a broker with the configuration that is shipped, and one whose disk can be full.
package processtest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// NATSServer is the main package of the broker, in the version that go.mod
// pins. Its binary is called nats-server.
const NATSServer = "github.com/nats-io/nats-server/v2"

// Main is the body of a TestMain: it builds main packages into a folder, which
// bin then names, runs the package's tests, and looks for what they left
// running. The folder ends with them. It returns the exit code.
func Main(m *testing.M, bin *string, mains ...string) int {
	dir, err := os.MkdirTemp("", "arauto-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make folder for binaries:", err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // A leftover in the temporary folder is not worth failing for.
	*bin = dir
	//nolint:noctx // It ends by itself, or with them.
	build := exec.Command("go", append([]string{"build", "-o", dir + string(filepath.Separator)}, mains...)...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build binaries:", err)
		return 1
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Start runs c in the background. What it writes is appended to the file log, and it inherits
// the listening sockets that are not nil, under their names (see process.Listen). The caller
// keeps its own sockets, so that the process may be killed and started again on them.
func Start(c *exec.Cmd, log string, sockets map[string]*net.TCPListener) error {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer output.Close() //nolint:errcheck // The process has its own descriptor, as of the sockets.
	c.Stdout, c.Stderr = output, output
	var names []string
	for name, socket := range sockets {
		if socket == nil {
			continue
		}
		file, err := socket.File()
		if err != nil {
			return fmt.Errorf("pass socket %s on: %w", name, err)
		}
		defer file.Close() //nolint:errcheck,revive // As above, and there are a few at most.
		c.ExtraFiles, names = append(c.ExtraFiles, file), append(names, name)
	}
	if len(names) > 0 {
		c.Env = append(c.Env, "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	return c.Start()
}

// Listening reads the file in which a nats-server, told so by ports_file_dir,
// says where it listens: host:port of its clients and, if it has one, of its
// monitoring. ok is false as long as the file is not there.
func Listening(dir string, pid int) (clients, monitor string, ok bool) {
	var ports struct {
		Nats       []string `json:"nats"`
		Monitoring []string `json:"monitoring"`
	}
	data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("nats-server_%d.ports", pid)))
	if err != nil || json.Unmarshal(data, &ports) != nil || len(ports.Nats) == 0 {
		return "", "", false
	}
	if len(ports.Monitoring) > 0 {
		monitor = strings.TrimPrefix(ports.Monitoring[0], "http://")
	}
	return strings.TrimPrefix(ports.Nats[0], "nats://"), monitor, true
}

// variable is a variable of deploy/nats.conf.
var variable = regexp.MustCompile(`\$(NATS_([A-Z]+)_PASSWORD)`)

// Shipped writes deploy/nats.conf, which is at path, into a folder for a nats-server of
// the tests: with its addresses and its store changed, without monitoring if that is "", with ports_file_dir the folder, and
// with a user test, password test, that may do everything. It returns the file, and the
// environment in which each user's password is the user's name and "pw".
func Shipped(path, dir, listen, monitor, store string) (conf string, env []string, err error) {
	shipped, err := os.ReadFile(path)
	if err != nil {
		return "", nil, fmt.Errorf("read what is shipped: %w", err)
	}
	text, http := string(shipped), `ports_file_dir: "`+dir+`"`
	if monitor != "" {
		http += `, http: "` + monitor + `"`
	}
	for old, changed := range map[string]string{
		`listen: "0.0.0.0:4222"`: `listen: "` + listen + `"`,
		`http: "127.0.0.1:8222"`: http,
		`store_dir: "/data"`:     `store_dir: "` + store + `"`,
		"users: [\n":             "users: [ {user: test, password: test}\n",
	} {
		if n := strings.Count(text, old); n != 1 {
			return "", nil, fmt.Errorf("%s has %q %d times, tests expect it once", path, old, n)
		}
		text = strings.Replace(text, old, changed, 1)
	}
	for _, m := range variable.FindAllStringSubmatch(text, -1) {
		env = append(env, m[1]+"="+strings.ToLower(m[2])+"pw")
	}
	subscribers, err := os.OpenFile(filepath.Join(dir, "subscribers.conf"), os.O_CREATE, 0o600)
	if err == nil {
		err = subscribers.Close() // It is empty, or has what the test wrote.
	}
	if err != nil {
		return "", nil, fmt.Errorf("make the file of the subscribers: %w", err)
	}
	conf = filepath.Join(dir, "nats.conf")
	return conf, env, os.WriteFile(conf, []byte(text), 0o600) //nolint:gosec // The folder is the test's.
}

// FreePorts finds ports on which nothing listens, for servers that must know each other's
// before they start. They are below the range from which systems choose ports, so that they
// stay free until they are used.
func FreePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	open := map[int]net.Listener{} // Until all are found, so that they differ.
	defer func() {
		for _, l := range open {
			_ = l.Close() // Nothing was accepted.
		}
	}()
	for range 100 * n {
		port := 20000 + rand.IntN(10000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		open[port] = l
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatalf("fewer than %d ports are free", n)
	return nil
}
