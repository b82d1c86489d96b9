package processtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
)

// The variables that make a test binary a Fillable broker: its store, and, when it
// is started again, its two ports.
const (
	fillableStore = "ARAUTO_TEST_FILLABLE_STORE"
	fillablePorts = "ARAUTO_TEST_FILLABLE_PORTS"
)

// ServeFillable must be the first call in TestMain of a package that uses
// StartFillable. In the process of such a broker it does not return.
func ServeFillable() {
	store := os.Getenv(fillableStore)
	if store == "" {
		return
	}
	if err := serveFillable(store, os.Stdin, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err) // Nothing is left to do if it fails.
		os.Exit(1)                          //nolint:revive // The test binary is the broker here, and must run no test.
	}
	os.Exit(0) //nolint:revive // As above.
}

func serveFillable(store string, in io.Reader, out io.Writer) error {
	o := server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
		JetStream: true, StoreDir: store, JetStreamMaxStore: testbench.Store, SyncAlways: true, NoLog: true, NoSigs: true,
	}
	if ports := os.Getenv(fillablePorts); ports != "" {
		if _, err := fmt.Sscan(ports, &o.Port, &o.HTTPPort); err != nil {
			return fmt.Errorf("read ports: %w", err)
		}
	}
	s, err := server.NewServer(&o)
	if err != nil {
		return fmt.Errorf("make server: %w", err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(time.Minute) {
		return errors.New("server is not ready after a minute")
	}
	return obey(s, in, out)
}

// obey says where the server is, and then does as each line says.
func obey(s *server.Server, in io.Reader, out io.Writer) error {
	var room syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &room); err != nil {
		return fmt.Errorf("read the limit of a file's size: %w", err)
	}
	_, port, _ := strings.Cut(s.ClientURL(), "127.0.0.1:")
	_, monitor, _ := strings.Cut(s.MonitorAddr().String(), ":")
	said := port + " " + monitor
	for lines := bufio.NewScanner(in); ; {
		if _, err := fmt.Fprintln(out, said); err != nil {
			return fmt.Errorf("answer the test: %w", err)
		}
		if !lines.Scan() {
			return nil // The test has ended.
		}
		limit := room
		if said = lines.Text(); said == full {
			limit.Cur = 0
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			return fmt.Errorf("set the limit of a file's size: %w", err)
		}
	}
}

// What a Fillable is told.
const (
	full = "full"
	free = "free"
)

// Fillable is a broker in a process of its own, with the topology applied, that
// syncs each write and has a monitoring address. Its disk can be full: the kernel
// then refuses to make a file of that process larger (RLIMIT_FSIZE), which is a
// write error like that of a full disk, and needs no root and no file system of
// its own. It ends with the test.
type Fillable struct {
	URL     string
	Monitor string // Its base URL.
	NC      *nats.Conn
	JS      jetstream.JetStream
	Process *os.Process

	t     testing.TB
	store string
	ports string
	ended chan struct{} // Closed when the process is gone.
	in    io.Writer
	out   *bufio.Reader
}

// StartFillable runs such a broker with the consumers of the given providers.
func StartFillable(t testing.TB, providers ...string) *Fillable {
	t.Helper()
	f := &Fillable{t: t, store: t.TempDir()}
	f.Start()
	port, monitor, _ := strings.Cut(f.ports, " ")
	f.URL, f.Monitor = "nats://127.0.0.1:"+port, "http://127.0.0.1:"+monitor
	f.NC, f.JS = testbench.Connect(t, f.URL)
	testbench.NewBench(t, f.JS).Apply(providers...)
	return f
}

// Start starts the process when it is gone, on the same ports and data. A disk that
// was full has room then.
func (f *Fillable) Start() {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), os.Args[0]) //nolint:gosec // It is this test binary.
	cmd.Env = append(os.Environ(), fillableStore+"="+f.store, fillablePorts+"="+f.ports)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	testbench.Must(f.t, err)
	out, pipe, err := os.Pipe() // Wait closes a pipe of the command's own, which may still be read.
	testbench.Must(f.t, err)
	cmd.Stdout = pipe
	if err := errors.Join(cmd.Start(), pipe.Close()); err != nil {
		f.t.Fatalf("start broker: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // It is killed, by a test or by the test's context.
		close(ended)
	}()
	f.t.Cleanup(func() { <-ended; _ = out.Close() })
	f.Process, f.ended, f.in, f.out = cmd.Process, ended, in, bufio.NewReader(out)
	f.ports = f.hear()
}

// Kill ends the process at once, and waits for its end.
func (f *Fillable) Kill() {
	f.t.Helper()
	_ = f.Process.Kill() // It may be gone.
	f.Await(testbench.Context(f.t))
}

// Await waits until the process is gone.
func (f *Fillable) Await(ctx context.Context) {
	f.t.Helper()
	select {
	case <-f.ended:
	case <-ctx.Done():
		f.t.Fatal("the broker does not end")
	}
}

// Fill makes the disk full.
func (f *Fillable) Fill() { f.t.Helper(); f.tell(full) }

// Free gives the disk its room back.
func (f *Fillable) Free() { f.t.Helper(); f.tell(free) }

func (f *Fillable) tell(what string) {
	f.t.Helper()
	if _, err := fmt.Fprintln(f.in, what); err != nil {
		f.t.Fatalf("tell the broker: %v", err)
	}
	if heard := f.hear(); heard != what {
		f.t.Fatalf("the broker answers %q to %q", heard, what)
	}
}

func (f *Fillable) hear() string {
	f.t.Helper()
	line, err := f.out.ReadString('\n')
	if err != nil {
		f.t.Fatalf("hear the broker: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}
