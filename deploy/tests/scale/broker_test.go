package scale_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

// bin holds nats-server, sweep and console, built once for all tests of this package.
var bin string

func TestMain(m *testing.M) {
	os.Exit(processtest.Main(m, &bin, "arauto/workers/cmd/sweep", "arauto/workers/cmd/console", processtest.NATSServer))
}

// broker is a nats-server process under deploy/nats.conf, so that a confirmed
// write is an fsynced one, and the test's connection to it.
type broker struct {
	testbench.Bench
	dir     string
	address string // host:port, the same for its whole life.
	process *exec.Cmd
	nc      *nats.Conn
	change  *strings.Replacer // What the process runs with in place of what is shipped, nil for nothing.
}

// startBroker starts it with the topology of one provider. It ends with the
// test, or when limit is over.
func startBroker(t testing.TB, limit time.Duration) *broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit) //nolint:usetesting // It must outlive the test's own end, to stop the process in order.
	b := &broker{Bench: testbench.NewBench(t, nil), dir: t.TempDir(), address: "127.0.0.1:-1"}
	b.Ctx = ctx
	t.Cleanup(func() {
		b.end(syscall.SIGKILL)
		cancel()
	})
	b.start()
	b.address = b.listening()
	b.nc, b.JS = testbench.Connect(t, "nats://"+b.address, user)
	_, err := topology.Apply(ctx, b.JS, topology.Settings{Replicas: 1, Store: 8 << 30, Providers: []string{"sandbox"}})
	b.Must(err)
	return b
}

// user may do everything.
var user = nats.UserInfo("test", "test")

// start runs the process on the broker's address and store.
func (b *broker) start() {
	b.T.Helper()
	conf, env, err := processtest.Shipped("../../nats.conf", b.dir, b.address, "", b.store())
	b.Must(err)
	if b.change != nil {
		text, err := os.ReadFile(conf)
		b.Must(err)
		b.Must(os.WriteFile(conf, []byte(b.change.Replace(string(text))), 0o600)) //nolint:gosec // The folder is the test's.
	}
	b.process = exec.CommandContext(b.Ctx, filepath.Join(bin, "nats-server"), "-c", conf)
	b.process.Env = append(os.Environ(), env...)
	b.Must(b.process.Start())
}

func (b *broker) store() string { return filepath.Join(b.dir, "store") }

// listening waits for the file in which nats-server says where it listens.
func (b *broker) listening() string {
	b.T.Helper()
	var address string
	b.Until("nats-server to listen", func() (ok bool) {
		address, _, ok = processtest.Listening(b.dir, b.process.Process.Pid)
		return ok
	})
	return address
}

// end sends the process a signal and waits until it is gone.
func (b *broker) end(signal syscall.Signal) {
	if b.process == nil {
		return
	}
	if err := b.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		b.T.Errorf("end nats-server: %v", err)
	}
	_ = b.process.Wait() // It says that it was killed.
	b.process = nil
}

// restart ends the process, starts it again on what it left on disk, and
// returns how long nobody could read the parked look-ups.
func (b *broker) restart(signal syscall.Signal) time.Duration {
	b.T.Helper()
	began := time.Now()
	b.end(signal)
	b.start()
	b.Until("the broker to answer again", b.answers)
	took := time.Since(began)
	b.Until("the test's own connection", b.nc.IsConnected)
	return took
}

// answers reports whether a new client can read the state of LOOKUP_RETRIES.
func (b *broker) answers() bool {
	nc, err := nats.Connect("nats://"+b.address, user, nats.NoReconnect(), nats.Timeout(time.Minute))
	if err != nil {
		return false
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(b.Ctx, time.Second)
	defer cancel()
	_, err = js.Stream(ctx, subject.LookupRetries)
	return err == nil
}

// memory is the resident memory of the process in bytes.
func (b *broker) memory() float64 { return b.status(b.process.Process.Pid, "VmRSS") }

// status is a size that the kernel tells of a process, in bytes.
func (b *broker) status(pid int, field string) float64 {
	b.T.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	b.Must(err)
	m := regexp.MustCompile(field + `:\s*([0-9]+) kB`).FindSubmatch(data)
	if m == nil {
		b.T.Fatalf("the kernel does not tell the %s of a process", field)
	}
	var kib float64
	_, err = fmt.Sscan(string(m[1]), &kib)
	b.Must(err)
	return kib * 1024
}

// disk is the size of the files in the broker's store in bytes.
func (b *broker) disk() float64 {
	b.T.Helper()
	var sum int64
	b.Must(filepath.WalkDir(b.store(), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return ignoreGone(err)
	}))
	return float64(sum)
}

// ignoreGone forgives a file that the broker removed meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// subjects counts the messages that a stream holds, by subject.
func (b *broker) subjects(stream, filter string) map[string]uint64 {
	b.T.Helper()
	s, err := b.JS.Stream(b.Ctx, stream)
	b.Must(err)
	info, err := s.Info(b.Ctx, jetstream.WithSubjectFilter(filter))
	b.Must(err)
	return info.State.Subjects
}

// parked is how many look-ups wait for their time.
func (b *broker) parked() int {
	b.T.Helper()
	return len(b.subjects(subject.LookupRetries, "lookup.parked.>"))
}
