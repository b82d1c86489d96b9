package testbench_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

func TestMain(m *testing.M) { testbench.Main(m) }

func Example() {
	_ = func(t *testing.T) { // A test.
		b := testbench.Start(t, "sandbox") // It ends with the test.
		sequence := b.Notify(record.Notification{Payment: "p"})
		m := b.Delivered(subject.Notifications, sequence) // For a worker's Handle.
		clock := testbench.NewClock(time.Unix(0, 0))      // For a worker's Now.
		clock.Advance(time.Minute)
		b.Until("the payment has an event", func() bool {
			return len(testbench.Documents[order.Event](b.Bench, subject.Orders, b.Unit("p").Events())) > 0
		})
		fmt.Println(m.Subject(), clock.Now())
	}
}

// recorder is a test whose errors do not fail this one.
type recorder struct {
	testing.TB
	ends   []func()
	errors []string
}

func (r *recorder) Cleanup(end func()) { r.ends = append(r.ends, end) }
func (r *recorder) Errorf(format string, v ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, v...))
}

func (r *recorder) end() {
	for len(r.ends) > 0 {
		last := r.ends[len(r.ends)-1]
		r.ends = r.ends[:len(r.ends)-1]
		last()
	}
}

func TestStoredDocumentThatBreaksItsContractFailsTheTest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		on   func(subject.Unit) string
		want string
	}{
		"event":       {func(u subject.Unit) string { return u.Event("p", order.Paid) }, "body breaks the schema"},
		"dead letter": {func(u subject.Unit) string { return u.DeadLetter("data", "lookup") }, "message 1 on dead."},
	} {
		r := &recorder{TB: t}
		b := testbench.Start(r, "sandbox")
		b.Publish(c.on(b.Unit("p")), map[string]string{"hello": "world"})
		b.Stop()
		b.Restart() // What is stored is checked after a restart too.
		r.end()
		if len(r.errors) != 1 || !strings.Contains(r.errors[0], c.want) {
			t.Errorf("%s: the errors are %q", name, r.errors)
		}
	}
}

func TestProxyCutsRefusesAndServesAgain(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	p := testbench.NewProxy(t, strings.TrimPrefix(b.URL, "nats://"), nil, nil)
	nc, _ := testbench.Connect(t, "nats://"+p.Addr)
	for name, end := range map[string]func(){"cut": p.Cut, "reset": p.Reset} {
		before := nc.Stats().Reconnects
		p.Refuse(true)
		end()
		b.Until(name+": the connection is lost", func() bool { return !nc.IsConnected() })
		if err := nc.FlushTimeout(50 * time.Millisecond); err == nil {
			t.Errorf("%s: a refused client reaches the broker", name)
		}
		p.Refuse(false)
		b.Until(name+": the connection is back", func() bool { return nc.IsConnected() && nc.Stats().Reconnects > before })
	}
}
