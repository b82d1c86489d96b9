package watch_test

import (
	"fmt"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

// The breaks in which a provider contradicts what was announced or published.
var (
	unmetExpectations = broken{
		what:   "expected payments are refused, of another sum, overdue, and paid without a webhook",
		alarms: []string{"ArautoExpectationsRefused", "ArautoExpectationsUnmet", "ArautoExpectationOverdue", "ArautoPaymentsUnannounced"},
		do: func(p *plant, w *watcher) {
			w.round(time.Minute)
			p.announce("refused", "no expectation")
			p.provider.set("other-sum", "paid")
			p.announce("other-sum", `{"order":"other-sum","amount":{"currency":"BRL","value":99}}`)
			p.provider.set("overdue", "garbage")
			p.announce("overdue", fmt.Sprintf(`{"order":"overdue","deadline":%q}`, time.Now().Add(-20*time.Minute).UTC().Format(time.RFC3339)))
			p.provider.set("silent", "pending")
			p.announce("silent", `{"order":"silent"}`)
			p.became("silent", "pending")
			p.provider.set("silent", "paid")
		},
		heal: func(p *plant) {
			p.provider.set("overdue", "paid")
			p.asked("overdue")
		},
	}
	olderAnswers = broken{
		what:   "the provider answers with older states than before, and keeps to them",
		alarms: []string{"ArautoAnswersLate", "ArautoProviderInsists"},
		do: func(p *plant, w *watcher) {
			for i := range older {
				p.provider.set(fmt.Sprintf("older-%d", i), "paid")
				p.notify("default", fmt.Sprintf("older-%d", i))
			}
			for i := range older {
				p.became(fmt.Sprintf("older-%d", i), "paid")
				p.provider.set(fmt.Sprintf("older-%d", i), "pending")
			}
			w.round(time.Hour) // The webhooks so far do not count.
			w.round(time.Minute)
			for i := range older {
				p.notify("default", fmt.Sprintf("older-%d", i))
			}
		},
		heal: func(p *plant) {
			for i := range older {
				p.provider.set(fmt.Sprintf("older-%d", i), "paid")
			}
		},
	}
)

// older is how many payments have older answers.
const older = 5

// announce publishes an expectation as a service does.
func (p *plant) announce(payment, body string) {
	p.t.Helper()
	_, err := p.js.Publish(p.ctx, subject.Unit{Provider: "sandbox", Account: "default", Payment: payment}.Expected(), []byte(body))
	testbench.Must(p.t, err)
}

// became waits until a payment's log has a status.
func (p *plant) became(payment, status string) {
	p.t.Helper()
	orders, err := p.js.Stream(p.ctx, subject.Orders)
	testbench.Must(p.t, err)
	p.until(payment+" to be "+status, func() bool {
		_, err := orders.GetLastMsgForSubject(p.ctx, "orders.sandbox.default."+payment+".*."+status)
		return err == nil
	})
}
