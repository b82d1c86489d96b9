// Package processtest lets tests run the real binaries as processes: it builds
// them, and finds out where a broker among them listens.
package processtest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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

// FreePorts finds ports that nobody listens on, for servers that must know
// each other's before they start.
func FreePorts(t testing.TB, n int) []int {
	t.Helper()
	ports, open := make([]int, n), make([]net.Listener, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		open[i] = l
		address, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			t.Fatalf("listening on %v", l.Addr())
		}
		ports[i] = address.Port
	}
	for _, l := range open { // Only now, so that they are different ones.
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return ports
}
