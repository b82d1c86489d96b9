package watch_test

import (
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

// The breaks whose alarms need five minutes of real time.
var (
	lostWebhook = broken{
		what:   "a payment moves without a webhook",
		alarms: []string{"ArautoWebhooksLost"},
		begin: func(p *plant) {
			p.provider.set("unheard", "pending")
			p.notify("default", "unheard")
			p.became("unheard", "pending")
			scheduled, err := p.js.Stream(p.ctx, subject.LookupRetries)
			testbench.Must(p.t, err)
			p.until("the rechecks of the payment to be over", func() bool {
				info, err := scheduled.Info(p.ctx)
				return err == nil && info.State.Msgs == 0
			})
			p.provider.set("unheard", "paid")
		},
		do:   func(*plant, *watcher) {},
		heal: func(*plant) {},
	}
	cutConsole = broken{
		what:   "the console cannot reach the broker",
		alarms: []string{"ArautoConsoleOld"},
		begin: func(p *plant) {
			p.toConsole = testbench.NewProxy(p.t, p.broker, nil, nil)
			p.restart("console")
			p.toConsole.Refuse(true)
			p.toConsole.Cut()
		},
		do: func(_ *plant, w *watcher) { w.scraped = append(w.scraped, "console") },
		heal: func(p *plant) {
			p.toConsole.Refuse(false)
			p.ready("console")
		},
	}
)
