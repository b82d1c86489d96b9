package conformance_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/providers"
)

// TestWorkersOutliveABrokerThatGoesAwayWhileTheyStart lets the broker go away
// at each question that a role asks after it has seen that everything is there,
// once per process. None may end: it waits, says so, and is ready in the end.
func TestWorkersOutliveABrokerThatGoesAwayWhileTheyStart(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	bin, services, b := built(ctx, t), composeFile(t).Services, start(t, func(o *server.Options) { o.HTTPPort = server.RANDOM_PORT })
	applyTopology(ctx, t, b, bin)
	begin := func(t *testing.T, role string, cut int) (*launched, *door) {
		t.Helper()
		d := newDoor(t, b.server.Addr().String(), cut)
		c := command(ctx, t, b, bin, role, services[role])
		for i, variable := range c.Env {
			if strings.HasPrefix(variable, "NATS_URL=") {
				c.Env[i] = "NATS_URL=nats://" + d.Addr
			}
		}
		return launch(t, c), d
	}
	for role, consumers := range map[string]int{config.RoleLookup: 2 * len(providers.All), config.RoleNormalize: 1, config.RoleSweep: 1, config.RoleExpect: 1} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			whole, open := begin(t, role, 0)
			whole.awaitReady(ctx)
			asked := open.subjects()
			whole.stop()
			first := repeated(asked)
			last := boundAt(asked, first, consumers)
			if first < 0 || last <= first {
				t.Fatalf("%s binds to nothing after it has waited: %v", role, asked)
			}
			// A few processes at a time: dozens that start at once would wait for a processor
			// for longer than for the broker.
			for few := range slices.Chunk(asked[first:last], 6) {
				var all []*launched
				for i := range few {
					p, _ := begin(t, role, first+i+1)
					all = append(all, p)
				}
				for i, p := range all {
					p.outlives(ctx, fmt.Sprintf("%s, broker gone at question %d, %s", role, first+i, few[i]))
				}
				first += len(few)
			}
		})
	}
}

// repeated is the index of the first question that is asked a second time: a
// role has then seen that everything is there, and binds to it.
func repeated(asked []string) int {
	for i, subject := range asked {
		if slices.Contains(asked[:i], subject) {
			return i
		}
	}
	return -1
}

// boundAt is the index behind the last question of a role that begins to bind
// at first: the one about the last of its consumers. What comes then is asked
// by tasks that have begun to work.
func boundAt(asked []string, first, consumers int) int {
	for i := max(first, 0); i < len(asked); i++ {
		if strings.Contains(asked[i], ".CONSUMER.INFO.") {
			consumers--
		}
		if consumers == 0 {
			return i + 1
		}
	}
	return -1
}

// outlives waits until a process is ready, although it had to wait for the
// broker, and then ends it.
func (p *launched) outlives(ctx context.Context, when string) {
	p.t.Helper()
	ended := false
	var logged []byte
	if !testbench.Poll(ctx, func() bool {
		select {
		case logged = <-p.rest:
			ended = true
			return true
		default:
			return strings.HasPrefix(p.get(ctx, "/readyz"), "200 ")
		}
	}) {
		p.t.Fatalf("%s: it does not become ready", when)
	}
	if ended {
		p.t.Errorf("%s: it ended by itself:\n%s", when, logged)
		_ = p.cmd.Wait() // It has said why.
		return
	}
	_ = p.cmd.Process.Kill() // There are many, and how one stops is tested elsewhere.
	logged = <-p.rest
	_ = p.cmd.Wait() // It says that it was killed.
	// On a machine that is busy with others it may also have waited before.
	if !bytes.Contains(logged, []byte(`"broker.awaited"`)) {
		p.t.Errorf("%s: it did not say that it waits:\n%s", when, logged)
	}
}

// away is how long a broker is gone.
const away = 300 * time.Millisecond

// door is a proxy to the broker. Once, it goes away with the question to JetStream of the
// given number unanswered, and serves again a little later.
type door struct {
	*testbench.Proxy
	cut int // Counted from 1, 0 for never.

	mu     sync.Mutex
	asked  []string
	closed time.Time
}

// newDoor listens until the test ends.
func newDoor(t *testing.T, broker string, cut int) *door {
	t.Helper()
	d := &door{cut: cut}
	d.Proxy = testbench.NewProxy(t, broker, d.carry, nil)
	return d
}

func (d *door) subjects() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.asked)
}

// carry copies what a client says until it stops or the door closes.
func (d *door) carry(broker io.Writer, from io.Reader) {
	d.mu.Lock()
	gone := time.Since(d.closed) < away
	d.mu.Unlock()
	if gone {
		return
	}
	client := bufio.NewReader(from)
	for {
		line, err := client.ReadBytes('\n')
		if err != nil {
			return
		}
		words := strings.Fields(string(line))
		if len(words) > 2 && (words[0] == "PUB" || words[0] == "HPUB") {
			size, err := strconv.Atoi(words[len(words)-1])
			if err != nil || !d.open(words[1]) {
				return
			}
			body := make([]byte, size+len("\r\n"))
			if _, err := io.ReadFull(client, body); err != nil {
				return
			}
			line = append(line, body...)
		}
		if _, err := broker.Write(line); err != nil {
			return
		}
	}
}

// open takes note of a question and reports whether it may pass.
func (d *door) open(subject string) bool {
	if !strings.HasPrefix(subject, "$JS.API.") {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked = append(d.asked, subject); len(d.asked) != d.cut {
		return true
	}
	d.closed = time.Now()
	return false
}
