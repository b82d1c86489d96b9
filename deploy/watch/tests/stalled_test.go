package watch_test

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

// The breaks after which work stands still, on our side.
var (
	refusedDisk = broken{
		what:   "the broker's disk has no room for a larger file",
		alarms: []string{"ArautoStoreFailed", "ArautoBrokerWriteErrors"},
		do: func(p *plant, w *watcher) {
			w.round(time.Minute)
			p.kill("nats-server")
			p.room = 128
			p.startBroker(p.broker)
			p.ready("gateway")
		},
		again: func(p *plant) {
			for range 20 {
				p.away++
				_ = p.call(http.MethodPost, "/v1/sandbox/default/notifications", "secret-of-default", fmt.Sprintf(`{"payment":"full-%d"}`, p.away))
			}
		},
		heal: func(p *plant) {
			p.room = 0
			p.restartBroker()
		},
	}
	fullOrders = broken{
		what:   "no event can be stored, because ORDERS is full",
		alarms: []string{"ArautoMessagesFailed", "ArautoConsumerLate"},
		do: func(p *plant, w *watcher) {
			w.round(time.Minute)
			p.bound(subject.Orders)
		},
		again: func(p *plant) {
			p.away++
			payment := fmt.Sprintf("full-%d", p.away)
			p.provider.set(payment, "paid")
			p.notify("default", payment)
		},
		heal: func(p *plant) { p.arauto("topology", "topology", "apply") },
	}
	fullOutcomes = broken{
		what:   "no outcome can be stored, because OUTCOMES is full",
		alarms: []string{"ArautoExpectationsFailed"},
		do: func(p *plant, w *watcher) {
			w.round(time.Minute)
			p.bound(subject.Outcomes)
			p.provider.set("unsaid", "paid")
			p.announce("unsaid", `{"order":"unsaid"}`)
		},
		heal: func(p *plant) { p.arauto("topology", "topology", "apply") },
	}
	terminated = broken{
		what:   "a message is terminated by hand",
		alarms: []string{"ArautoMessageGivenUp"},
		do: func(p *plant, w *watcher) {
			w.round(time.Minute)
			p.kill("lookup")
			p.notify("default", "terminated")
			c, err := p.js.Consumer(p.ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
			testbench.Must(p.t, err)
			p.until("the message of the payment", func() bool {
				m, err := c.Next(jetstream.FetchMaxWait(time.Second))
				if err != nil {
					return false
				}
				testbench.Must(p.t, m.Term())
				return strings.HasSuffix(m.Subject(), ".terminated")
			})
		},
		heal: func(p *plant) { p.restart("lookup") },
	}
	held = broken{
		what:   "an operator holds every worker",
		alarms: []string{"ArautoHeld"},
		do:     func(p *plant, _ *watcher) { p.arauto("backup", "hold") },
		heal:   func(p *plant) { p.arauto("backup", "resume") },
	}
)

// bound leaves a stream no room for a further message, until `arauto topology apply`.
func (p *plant) bound(name string) {
	p.t.Helper()
	s, err := p.js.Stream(p.ctx, name)
	testbench.Must(p.t, err)
	config := s.CachedInfo().Config
	config.MaxBytes = int64(s.CachedInfo().State.Bytes) + 1
	_, err = p.js.UpdateStream(p.ctx, config)
	testbench.Must(p.t, err)
}
