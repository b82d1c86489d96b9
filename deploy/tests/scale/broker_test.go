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
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

// bin holds nats-server and sweep, built once for all tests of this package.
var bin string

func TestMain(m *testing.M) {
	os.Exit(processtest.Main(m, &bin, "arauto/workers/cmd/sweep", processtest.NATSServer))
}

// broker is a nats-server process under deploy/nats.conf, so that a confirmed
// write is an fsynced one, and the test's connection to it.
type broker struct {
	t       testing.TB
	ctx     context.Context
	dir     string
	address string // host:port, the same for its whole life.
	process *exec.Cmd
	nc      *nats.Conn
	js      jetstream.JetStream
}

// startBroker starts it with the topology of one provider. It ends with the
// test, or when limit is over.
func startBroker(t testing.TB, limit time.Duration) *broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit) //nolint:usetesting // It must outlive the test's own end, to stop the process in order.
	b := &broker{t: t, ctx: ctx, dir: t.TempDir(), address: "127.0.0.1:-1"}
	t.Cleanup(func() {
		b.end(syscall.SIGKILL)
		cancel()
	})
	b.start()
	b.address = b.listening()
	nc, err := b.dial(nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	b.must(err)
	b.nc = nc
	t.Cleanup(nc.Close)
	b.js, err = jetstream.New(nc)
	b.must(err)
	_, err = topology.Apply(ctx, b.js, topology.Settings{Replicas: 1, Store: 8 << 30, Providers: []string{"sandbox"}})
	b.must(err)
	return b
}

func (b *broker) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// dial connects as a user who may do everything.
func (b *broker) dial(options ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("nats://"+b.address, append(options, nats.UserInfo("test", "test"))...)
}

// password is a variable of deploy/nats.conf.
var password = regexp.MustCompile(`\$(NATS_[A-Z]+_PASSWORD)`)

// start runs the process on the broker's address and store.
func (b *broker) start() {
	b.t.Helper()
	shipped, err := os.ReadFile("../../nats.conf")
	b.must(err)
	text := string(shipped)
	for old, changed := range map[string]string{
		`listen: "0.0.0.0:4222"`: `listen: "` + b.address + `"`,
		`http: "127.0.0.1:8222"`: `ports_file_dir: "` + b.dir + `"`,
		`store_dir: "/data"`:     `store_dir: "` + b.store() + `"`,
		"users: [\n":             "users: [ {user: test, password: test}\n",
	} {
		if strings.Count(text, old) != 1 {
			b.t.Fatalf("deploy/nats.conf has %q %d times, this test expects it once", old, strings.Count(text, old))
		}
		text = strings.Replace(text, old, changed, 1)
	}
	conf := filepath.Join(b.dir, "nats.conf")
	b.must(os.WriteFile(conf, []byte(text), 0o600))
	b.process = exec.CommandContext(b.ctx, filepath.Join(bin, "nats-server"), "-c", conf)
	b.process.Env = os.Environ()
	for _, m := range password.FindAllStringSubmatch(text, -1) {
		b.process.Env = append(b.process.Env, m[1]+"=unused")
	}
	b.must(b.process.Start())
}

func (b *broker) store() string { return filepath.Join(b.dir, "store") }

// listening waits for the file in which nats-server says where it listens.
func (b *broker) listening() string {
	b.t.Helper()
	var address string
	b.await("nats-server to listen", func() (ok bool) {
		address, _, ok = processtest.Listening(b.dir, b.process.Process.Pid)
		return ok
	})
	return address
}

// await asks every few milliseconds until the answer is yes.
func (b *broker) await(what string, done func() bool) {
	b.t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-b.ctx.Done():
			b.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// end sends the process a signal and waits until it is gone.
func (b *broker) end(signal syscall.Signal) {
	if b.process == nil {
		return
	}
	if err := b.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		b.t.Errorf("end nats-server: %v", err)
	}
	_ = b.process.Wait() // It says that it was killed.
	b.process = nil
}

// restart ends the process, starts it again on what it left on disk, and
// returns how long nobody could read the parked look-ups.
func (b *broker) restart(signal syscall.Signal) time.Duration {
	b.t.Helper()
	began := time.Now()
	b.end(signal)
	b.start()
	b.await("the broker to answer again", b.answers)
	took := time.Since(began)
	b.await("the test's own connection", b.nc.IsConnected)
	return took
}

// answers reports whether a new client can read the state of LOOKUP_RETRIES.
func (b *broker) answers() bool {
	nc, err := b.dial(nats.NoReconnect())
	if err != nil {
		return false
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	_, err = js.Stream(ctx, subject.LookupRetries)
	return err == nil
}

// memory is the resident memory of the process in bytes.
func (b *broker) memory() float64 { return b.status(b.process.Process.Pid, "VmRSS") }

// status is a size that the kernel tells of a process, in bytes.
func (b *broker) status(pid int, field string) float64 {
	b.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	b.must(err)
	m := regexp.MustCompile(field + `:\s*([0-9]+) kB`).FindSubmatch(data)
	if m == nil {
		b.t.Fatalf("the kernel does not tell the %s of a process", field)
	}
	var kib float64
	_, err = fmt.Sscan(string(m[1]), &kib)
	b.must(err)
	return kib * 1024
}

// disk is the size of the files in the broker's store in bytes.
func (b *broker) disk() float64 {
	b.t.Helper()
	var sum int64
	b.must(filepath.WalkDir(b.store(), func(_ string, d fs.DirEntry, err error) error {
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
	b.t.Helper()
	s, err := b.js.Stream(b.ctx, stream)
	b.must(err)
	info, err := s.Info(b.ctx, jetstream.WithSubjectFilter(filter))
	b.must(err)
	return info.State.Subjects
}

// parked is how many look-ups wait for their time.
func (b *broker) parked() int {
	b.t.Helper()
	return len(b.subjects(subject.LookupRetries, "lookup.parked.>"))
}
