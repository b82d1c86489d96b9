package acceptance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/sweep/retention"
)

// booked is what a service has stored: payments with the numbers of their transitions, in
// the order in which they came.
type booked struct {
	mu    sync.Mutex
	all   map[string][]uint64
	lines func() string  // What the service has printed, if its books are that.
	deny  map[string]int // How often a transition is still refused, by payment and number.
}

// book stores a transition unless it is to be refused.
func (b *booked) book(payment string, transition uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if key := fmt.Sprint(payment, " ", transition); b.deny[key] > 0 {
		b.deny[key]--
		return false
	}
	b.all[payment] = append(b.all[payment], transition)
	return true
}

// of are the transitions of a payment that are booked.
func (b *booked) of(payment string) []uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lines == nil {
		return slices.Clone(b.all[payment])
	}
	var all []uint64
	for line := range strings.Lines(b.lines()) {
		var transition uint64
		if n, _ := fmt.Sscanf(line, "o "+payment+" %d paid\n", &transition); n == 1 {
			all = append(all, transition)
		}
	}
	return all
}

// ServeHTTP is the books of a service that posts events.
func (b *booked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var e struct {
		Payment    string
		Transition uint64
	}
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil || !b.book(e.Payment, e.Transition) {
		w.WriteHeader(http.StatusConflict)
	}
}

// subscribing is a deployment with one service that subscribes as the documents say.
type subscribing struct {
	*plant
	js       jetstream.JetStream
	books    *booked
	url      string // Of the books.
	password string
	next     map[string]uint64 // By payment: the last transition that was published.
}

// subscribe runs a broker process, and has arauto make the service and print its password.
// Two of three events of the payment "old" are compacted before it comes.
func subscribe(t *testing.T) *subscribing {
	t.Helper()
	s := &subscribing{plant: build(t), books: &booked{all: map[string][]uint64{}, deny: map[string]int{}}, next: map[string]uint64{}}
	server := httptest.NewServer(s.books)
	t.Cleanup(server.Close)
	s.url = server.URL
	s.startBroker("127.0.0.1:-1")
	if out, err := s.command("topology", "arauto", "topology", "apply", "--config", s.config()).CombinedOutput(); err != nil {
		t.Fatalf("apply topology: %v\n%s", err, out)
	}
	s.connect()
	testbench.Must(t, s.js.DeleteConsumer(s.ctx, subject.Orders, subject.ExpectConsumer)) // No role reads by it here, which keeps events.
	s.publish("old", 3)
	orders, err := s.js.Stream(s.ctx, subject.Orders)
	testbench.Must(t, err)
	for _, sequence := range []uint64{1, 2} {
		testbench.Must(t, orders.DeleteMsg(s.ctx, sequence))
	}
	add := s.command("operator", "arauto", "subscriber", "add", "billing", "--by", "test", "--config", s.config(), "--output", "json", "--file", filepath.Join(s.dir, "subscribers.conf"))
	out, err := add.Output()
	var printed struct{ Password string }
	if err == nil {
		err = json.Unmarshal(out, &printed)
	}
	if err != nil || printed.Password == "" {
		t.Fatalf("add the service: %v\n%s", err, out)
	}
	s.password = printed.Password
	s.shortenAckWait()
	s.poll("the reload", func() bool { return s.reloaded() })
	return s
}

// connect is for what the test does itself, and again after the broker was killed.
func (s *subscribing) connect() {
	s.t.Helper()
	_, s.js = testbench.Connect(s.t, "nats://"+s.broker, nats.UserInfo("test", "test"))
}

// shortenAckWait has what a killed service held redelivered after 3 seconds instead of 30.
func (s *subscribing) shortenAckWait() {
	s.t.Helper()
	consumer, err := s.js.Consumer(s.ctx, subject.Orders, "billing")
	testbench.Must(s.t, err)
	config := consumer.CachedInfo().Config
	config.AckWait = 3 * time.Second
	_, err = s.js.UpdateConsumer(s.ctx, subject.Orders, config)
	testbench.Must(s.t, err)
}

// reloaded signals the broker to read its configuration again, and reports whether the
// service may look at its consumer.
func (s *subscribing) reloaded() bool {
	testbench.Must(s.t, s.running["nats-server"].Process.Signal(syscall.SIGHUP))
	nc, err := nats.Connect("nats://"+s.broker, nats.UserInfo("billing", s.password), nats.CustomInboxPrefix("_INBOX_billing"), nats.Timeout(time.Minute))
	if err != nil {
		return false
	}
	defer nc.Close()
	answer, err := nc.Request("$JS.API.CONSUMER.INFO.ORDERS.billing", nil, time.Second)
	return err == nil && strings.Contains(string(answer.Data), `"durable_name":"billing"`)
}

// publish stores the next events of a payment as normalize does.
func (s *subscribing) publish(payment string, events int) {
	s.t.Helper()
	for range events {
		s.next[payment]++
		e := order.Event{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Order: "o", Payment: payment, Transition: s.next[payment],
			Status: order.Paid, ProviderStatus: "paid", Confirmed: true, ObservedAt: time.Now().UTC(), Observation: s.next[payment],
		}
		body, err := json.Marshal(e)
		testbench.Must(s.t, err)
		m := nats.NewMsg("orders.sandbox.default." + payment + ".o.paid")
		m.Data = body
		for name, value := range e.CloudEvent("", "o") {
			m.Header.Set(name, value)
		}
		_, err = s.js.PublishMsg(s.ctx, m)
		testbench.Must(s.t, err)
	}
}

// acked waits until the service has acked every event up to a sequence.
func (s *subscribing) acked(last int) {
	s.t.Helper()
	s.poll("every event is acked", func() bool {
		consumer, err := s.js.Consumer(s.ctx, subject.Orders, "billing")
		return err == nil && consumer.CachedInfo().AckFloor.Stream == uint64(last)
	})
}

// compact compacts the payments as sweep does once they have not moved for long, and returns how
// many events went.
func (s *subscribing) compact() uint64 {
	s.t.Helper()
	opened := func(name string) jetstream.Stream {
		of, err := s.js.Stream(s.ctx, name)
		testbench.Must(s.t, err)
		return of
	}
	orders := opened(subject.Orders)
	before := orders.CachedInfo().State.Msgs
	testbench.Must(s.t, (&retention.Orders{
		Stream: orders, Index: opened(subject.OrderPayments), Metrics: retention.NewMetrics(prometheus.NewRegistry()), Now: time.Now,
	}).Round(s.ctx))
	return before - opened(subject.Orders).CachedInfo().State.Msgs
}

// missesNothing runs a service through compactions, a death of its own and one of the broker.
func (s *subscribing) missesNothing(run func() *exec.Cmd, log func() string) {
	s.t.Helper()
	payments := []string{"a", "b", "c", "d"}
	publish := func() {
		for range 5 {
			for _, payment := range payments {
				s.publish(payment, 1)
			}
		}
	}
	publish()
	s.running["service"] = run()
	for _, payment := range payments {
		s.poll("the first events of "+payment, func() bool { return len(s.books.of(payment)) >= 5 })
		if got := s.books.of(payment); !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
			s.t.Errorf("the events of %s were booked as %v", payment, got)
		}
	}
	s.acked(3 + 5*len(payments))
	if gone := s.compact(); gone != uint64(4*len(payments)) {
		s.t.Errorf("%d events were compacted, want 4 of each payment", gone)
	}
	publish()
	s.kill("service")
	publish()
	if gone := s.compact(); gone > 0 {
		s.t.Errorf("%d events were compacted that no service has read", gone)
	}
	s.running["service"] = run()
	s.poll("an event after the service's death", func() bool { return slices.Contains(s.books.of("a"), 11) })
	s.kill("nats-server")
	s.startBroker(s.broker)
	s.connect()
	publish()
	for _, payment := range payments {
		s.poll("every event of "+payment, func() bool {
			got := s.books.of(payment)
			for transition := range s.next[payment] {
				if !slices.Contains(got, transition+1) {
					return false
				}
			}
			return true
		})
	}
	s.acked(3 + 4*5*len(payments))
	// A broker that was killed may have lost acks, and delivers those events again.
	if got := slices.Compact(s.books.of("old")); !slices.Equal(got, []uint64{3}) {
		s.t.Errorf("of the compacted payment %v was booked", got)
	}
	if said := log(); !strings.Contains(said, "transitions 1 to 2") || !strings.Contains(said, "compacted") {
		s.t.Errorf("the service does not say what was compacted before it came:\n%s", said)
	}
}

// logged starts a process with its output in a file, and returns what reads that.
func (s *subscribing) logged(command func() *exec.Cmd) (run func() *exec.Cmd, log func() string) {
	path := filepath.Join(s.dir, "service.log")
	return func() *exec.Cmd {
			s.t.Helper()
			file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			testbench.Must(s.t, err)
			defer file.Close() //nolint:errcheck // The child has its own descriptor.
			c := command()
			c.Stdout, c.Stderr = file, file
			testbench.Must(s.t, c.Start())
			return c
		}, func() string {
			text, err := os.ReadFile(path)
			testbench.Must(s.t, err)
			return string(text[:bytes.LastIndexByte(text, '\n')+1])
		}
}

// goService is the service of SUBSCRIBING.md, built.
func goService(t *testing.T) string {
	t.Helper()
	document, err := os.ReadFile(root + "deploy/SUBSCRIBING.md")
	testbench.Must(t, err)
	text := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindSubmatch(document)[1]
	if lines := strings.Count(string(text), "\n"); lines > 25 {
		t.Errorf("the service has %d lines, at most 25 are promised", lines)
	}
	folder := t.TempDir()
	testbench.Must(t, os.WriteFile(filepath.Join(folder, "main.go"), text, 0o600))
	c := exec.Command("go", "build", "-o", filepath.Join(folder, "service"), filepath.Join(folder, "main.go"))
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the service: %v\n%s", err, out)
	}
	return filepath.Join(folder, "service")
}

// TestGoServiceOfTheDocumentsMissesNothing runs the 25 lines of SUBSCRIBING.md. Its books are
// the lines that it prints.
func TestGoServiceOfTheDocumentsMissesNothing(t *testing.T) {
	t.Parallel()
	service := goService(t)
	s := subscribe(t)
	run, log := s.logged(func() *exec.Cmd {
		c := exec.CommandContext(s.ctx, service)
		c.Env = append(os.Environ(), "NATS_URL=nats://"+s.broker, "NATS_BILLING_PASSWORD="+s.password)
		return c
	})
	s.books.lines = log
	s.missesNothing(run, log)
}

// The packages of npm that the example in Node needs.
var nodePackages = []string{"@nats-io/transport-node@3.4.0", "@nats-io/jetstream@3.4.0", "cloudevents@10.0.0"}

// TestNodeExampleMissesNothing runs deploy/examples/subscriber.mjs, whose books refuse an
// event twice.
func TestNodeExampleMissesNothing(t *testing.T) {
	t.Parallel()
	node := testbench.Node(t, nodePackages...)
	text, err := os.ReadFile(root + "deploy/examples/subscriber.mjs")
	testbench.Must(t, err)
	if lines := strings.Count(string(text), "\n"); lines > 60 {
		t.Errorf("the example has %d lines, at most 60 are promised", lines)
	}
	testbench.Must(t, os.WriteFile(filepath.Join(node.Folder, "subscriber.mjs"), text, 0o600))
	s := subscribe(t)
	s.books.deny["b 2"] = 2
	run, log := s.logged(func() *exec.Cmd { return s.example(node.Command(s.ctx, "subscriber.mjs")) })
	s.missesNothing(run, log)
	if said := log(); strings.Count(said, "refuse transition 2 of b") != 2 {
		t.Errorf("the service says of the refused event:\n%s", said)
	}
}

// TestPythonExampleMissesNothing runs deploy/examples/subscriber.py where the machine has the
// packages that it imports.
func TestPythonExampleMissesNothing(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs(root + "deploy/examples/subscriber.py")
	testbench.Must(t, err)
	text, err := os.ReadFile(script)
	testbench.Must(t, err)
	if lines := strings.Count(string(text), "\n"); lines > 60 {
		t.Errorf("the example has %d lines, at most 60 are promised", lines)
	}
	for _, needed := range []string{"nats", "cloudevents.core"} {
		if out, err := exec.Command("python3", "-c", "import "+needed).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: python3 has no package %s (nats-py and cloudevents 2): %v\n%s", needed, err, out) //nolint:forbidigo // Debian has neither, and the reason is shown.
		}
	}
	s := subscribe(t)
	s.books.deny["b 2"] = 2
	run, log := s.logged(func() *exec.Cmd { return s.example(exec.CommandContext(s.ctx, "python3", script)) })
	s.missesNothing(run, log)
	if said := log(); strings.Count(said, "HTTP Error 409") != 2 {
		t.Errorf("the service says of the refused event:\n%s", said)
	}
}

// example gives a command the environment of the examples.
func (s *subscribing) example(c *exec.Cmd) *exec.Cmd {
	c.Env = append(os.Environ(), "NATS_URL=nats://"+s.broker, "NATS_USER=billing", "NATS_PASSWORD="+s.password, "BOOKS_URL="+s.url)
	return c
}
