package conformance_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
)

// natsConf is the configuration that production uses, from this package.
var natsConf = filepath.Join("..", "..", "nats.conf")

// streamAccount is the account of nats.conf that has the streams.
const streamAccount = "ARAUTO"

// inspector is a user of the tests alone in that account: it may see everything.
const inspector = "inspector"

func passwordVariable(role string) string {
	return "NATS_" + strings.ToUpper(role) + "_PASSWORD"
}

// password has the form that .env.example advises.
func password(role string) string { return "p5e17" + role }

// broker is a NATS server that runs deploy/nats.conf itself; only its
// addresses and its folder differ from production.
type broker struct {
	t      testing.TB
	server *server.Server
	trace  *trace
}

// option changes the parsed configuration before the server starts.
type option func(*server.Options)

// start runs the configuration file. Nothing of it is written here, so what
// the tests find is what an operator gets.
func start(t testing.TB, change ...option) *broker {
	t.Helper()
	return startFile(t, natsConf, change...)
}

// startFile is start with another file.
func startFile(t testing.TB, path string, change ...option) *broker {
	t.Helper()
	return run(t, optionsOf(t, path, change...))
}

// optionsOf reads a configuration, with the addresses and the folder of a test.
func optionsOf(t testing.TB, path string, change ...option) *server.Options {
	t.Helper()
	options, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatalf("parse %s: %v", path, err)
	}
	options.Host, options.Port, options.HTTPPort = "127.0.0.1", server.RANDOM_PORT, 0
	options.StoreDir, options.NoSigs, options.NoLog = t.TempDir(), true, true
	streams := slices.IndexFunc(options.Accounts, func(a *server.Account) bool { return a.Name == streamAccount })
	options.Users = append(options.Users, &server.User{
		Username: inspector, Password: password(inspector), Account: options.Accounts[streams],
	})
	for _, c := range change {
		c(options)
	}
	return options
}

func run(t testing.TB, options *server.Options) *broker {
	t.Helper()
	b := &broker{t: t, trace: &trace{users: map[string]string{}, subjects: map[string][]string{}}}
	b.server = testbench.Serve(t, options, func(s *server.Server) { s.SetLoggerV2(b.trace, false, true, false) })
	return b
}

// as connects as a role does, with its own inbox prefix. A refusal by the
// broker fails the test.
func (b *broker) as(role string) (*nats.Conn, jetstream.JetStream) {
	b.t.Helper()
	return b.connect(role, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		b.t.Errorf("%s: %v", role, err)
	}))
}

func (b *broker) connect(role string, more ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	b.t.Helper()
	return testbench.Connect(b.t, b.server.ClientURL(), append([]nats.Option{
		nats.Name(role), nats.UserInfo(role, password(role)), nats.CustomInboxPrefix("_INBOX_" + role),
	}, more...)...)
}

// used returns the subjects that a role has published to and subscribed to, on every
// connection that the broker has seen.
func (b *broker) used(role string) (published, subscribed []string) {
	b.trace.mu.Lock()
	defer b.trace.mu.Unlock()
	for connection, user := range b.trace.users {
		if user == role {
			published = append(published, b.trace.subjects[connection+" PUB"]...)
			subscribed = append(subscribed, b.trace.subjects[connection+" SUB"]...)
		}
	}
	return published, subscribed
}

// trace is the broker's log of the protocol. It keeps who named which subject.
type trace struct {
	mu       sync.Mutex
	users    map[string]string   // By connection.
	subjects map[string][]string // By "<connection> <verb>".
	refused  []string
}

var (
	login     = regexp.MustCompile(`cid:(\d+).* <<- \[CONNECT .*"user":"([^"]+)"`)
	operation = regexp.MustCompile(`cid:(\d+).* <<- \[H?(PUB|SUB) (\S+)`)
)

// Tracef takes one line of the protocol.
func (l *trace) Tracef(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if found := operation.FindStringSubmatch(line); found != nil {
		key := found[1] + " " + found[2]
		l.subjects[key] = append(l.subjects[key], strings.TrimSuffix(found[3], "]"))
	} else if found := login.FindStringSubmatch(line); found != nil {
		l.users[found[1]] = found[2]
	}
}

// Errorf takes what the broker reports, refusals among it.
func (l *trace) Errorf(format string, v ...any) {
	if line := fmt.Sprintf(format, v...); strings.Contains(line, "Violation") {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.refused = append(l.refused, line)
	}
}

func (l *trace) refusals() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.refused)
}

// Noticef, Warnf, Fatalf and Debugf complete server.Logger; what they would
// say shows in the tests' own results.
func (*trace) Noticef(string, ...any) {}
func (*trace) Warnf(string, ...any)   {}
func (*trace) Fatalf(string, ...any)  {}
func (*trace) Debugf(string, ...any)  {}
