package watch_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// broken are breaks of the real thing, each with the alarms that it makes fire.
type broken struct {
	what   string
	alarms []string
	begin  func(p *plant) // What must last for minutes, done before the first break; nil for nothing.
	do     func(p *plant, w *watcher)
	again  func(p *plant) // What goes on until the alarms fire; nil for nothing.
	heal   func(p *plant)
}

// breaks come one after the other. After each, all alarms must end.
var breaks = []broken{
	{
		what: "callers send what must be refused, and the certificate is bad",
		alarms: []string{
			"ArautoCredentialRefused", "ArautoBodyRefused", "ArautoBodyTooLarge", "ArautoMethodRefused", "ArautoWrongURL", "ArautoRequestsBroken",
			"ArautoAccountLimited", "ArautoConnectionsEvicted", "ArautoCertificateDistrusted", "ArautoCertificateExpires",
			"ArautoCertificateExpiresSoon", "ArautoCertificateNotReloaded",
		},
		do: refusedCallers,
		heal: func(p *plant) {
			p.renew(10 * 365 * 24 * time.Hour)
		},
	},
	{
		what: "the provider does not know payments, says unknown words, answers garbage and refuses a credential; a webhook has an unknown type",
		alarms: []string{
			"ArautoPaymentsUnknown", "ArautoAnswersRefused", "ArautoDeadLettersOpen", "ArautoLookupsGivenUp", "ArautoCircuitOpen", "ArautoLookupsWaitForUs",
			"ArautoLookupsWaitForProvider",
			"ArautoEventsUnreadable",
		},
		do:   badAnswers,
		heal: goodAnswers,
	},
	{
		what:   "the provider is away",
		alarms: []string{"ArautoProviderPaused"},
		do:     func(p *plant, _ *watcher) { p.provider.stop(true) },
		// A payment twice a second: that the host of the accounts is down counts only 30 s after the
		// last answer to another account.
		again: func(p *plant) {
			if p.rounds++; p.rounds%5 > 0 {
				return
			}
			p.away++
			payment := fmt.Sprintf("away-%d", p.away)
			p.provider.set(payment, "paid")
			p.notify("default", payment)
		},
		heal: func(p *plant) {
			p.provider.stop(false)
			for i := range p.away {
				p.asked(fmt.Sprintf("away-%d", i+1))
			}
		},
	},
	{
		what: "roles are killed, and the streams fill",
		alarms: []string{
			"ArautoRoleMissing", "ArautoConsumerUnattended", "ArautoExpectMissing", "ArautoNotificationsFilling", "ArautoOrdersFilling", "ArautoOrderPaymentsFilling",
			"ArautoExpectationsFilling", "ArautoOutcomesFilling", "ArautoStatusesFilling", "ArautoScheduledLookupsFilling", "ArautoDeadLettersFilling",
		},
		do:   killAndFill,
		heal: purgeAndRestart,
	},
	{
		what:   "a change of the configuration is refused",
		alarms: []string{"ArautoConfigNotReloaded"},
		do:     func(p *plant, _ *watcher) { p.configure(p.configured + "unknown: 1\n") },
		heal:   func(p *plant) { p.configure(p.configured) },
	},
	{
		what:   "a role cannot go on",
		alarms: []string{"ArautoRestarts"},
		do: func(p *plant, w *watcher) {
			for range 3 {
				p.kill("normalize")
				p.restart("normalize")
				w.round(time.Minute)
			}
		},
		heal: func(*plant) {},
	},
	{
		what:   "the broker is killed",
		alarms: []string{"ArautoWebhooksNotStored", "ArautoConsumerUnreadable", "ArautoSweepFailed"},
		do:     func(p *plant, _ *watcher) { p.kill("nats-server") },
		again: func(p *plant) {
			_ = p.call(http.MethodPost, "/v1/sandbox/default/notifications", "secret-of-default", `{"payment":"p"}`)
		},
		heal: (*plant).restartBroker,
	},
	{
		what:   "the broker confirms before it syncs",
		alarms: []string{"ArautoDurabilityUnmet"},
		do: func(p *plant, _ *watcher) {
			p.kill("nats-server")
			p.startBroker(p.broker, func(text string) string {
				return strings.Replace(text, "sync_interval: always", "sync_interval: 2m", 1)
			})
		},
		heal: (*plant).restartBroker,
	},
	refusedDisk, fullOrders, fullOutcomes, unmetExpectations, olderAnswers, terminated, held, lostWebhook, cutConsole,
}

// notBroken are the alarms whose cause this test does not make, with the reason.
var notBroken = map[string]string{
	"ArautoWebhookPanicked": "it needs a bug in an adapter",
	"ArautoMessageFatal":    "the process that counts it ends at once, so that a scrape sees it by luck only",
	"ArautoSchedulesStuck":  "it needs a broker that does not fire its schedules for a minute",
}

func TestEveryAlarmIsBrokenOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	made := map[string]bool{}
	for _, b := range breaks {
		for _, name := range b.alarms {
			if made[name] || notBroken[name] != "" {
				t.Errorf("%s is in two lists", name)
			}
			made[name] = true
		}
	}
	all := alarms(t)
	for name := range all {
		if !made[name] && notBroken[name] == "" {
			t.Errorf("no break makes %s fire, and nothing says why", name)
		}
	}
	for name := range notBroken {
		if all[name] == nil {
			t.Errorf("there is no alarm %s", name)
		}
	}
}

// TestAlarmsFireWhenTheRealThingBreaksAndEndByThemselves breaks a running deployment in one
// way after the other, evaluates the rule file over scrapes of it, and mends it. ALARMS is 1, or
// a part of what the breaks to be made say that they do.
func TestAlarmsFireWhenTheRealThingBreaksAndEndByThemselves(t *testing.T) {
	t.Parallel()
	if os.Getenv("ALARMS") == "" {
		t.Skip("SKIPPED: `make alarms` runs it, because it breaks a running system for minutes")
	}
	p := newPlant(t)
	w := newWatcher(t, p)
	p.provider.set("first", "paid")
	p.notify("default", "first")
	chosen := slices.DeleteFunc(slices.Clone(breaks), func(b broken) bool {
		only := os.Getenv("ALARMS")
		return only != "1" && !strings.Contains(b.what, only)
	})
	for _, b := range chosen {
		if b.begin != nil {
			b.begin(p)
		}
	}
	for range 10 {
		if firing := w.round(time.Minute); len(firing) > 0 {
			t.Fatalf("nothing is broken, and there fire %v", firing)
		}
	}
	for _, b := range chosen {
		b.run(t, p, w)
	}
}

// slowest is how long a break with a begin may take of real time.
const slowest = 8 * time.Minute // A guess.

// run breaks one thing, waits for its alarms, mends it, and waits until no alarm fires.
func (b broken) run(t *testing.T, p *plant, w *watcher) {
	t.Helper()
	began := time.Now()
	if w.longest = longest; b.begin != nil {
		w.longest = slowest
	}
	if b.begin == nil { // Else its alarms may have fired during a break before.
		for _, name := range b.alarms {
			delete(w.fired, name)
		}
	}
	b.do(p, w)
	again := func() {}
	if b.again != nil {
		again = func() { b.again(p) }
	}
	w.fires(b.alarms, again)
	fired := time.Now()
	b.heal(p)
	w.ends()
	t.Logf("%s: fired after %v, ended after %v", b.what, fired.Sub(began).Round(time.Millisecond), time.Since(fired).Round(time.Millisecond))
}

// refusedCallers sends what the gateway refuses.
func refusedCallers(p *plant, w *watcher) {
	const path = "/v1/sandbox/notifications"
	w.round(time.Minute)
	p.renew(24 * time.Hour)
	p.until("the gateway to use the certificate", func() bool { // It is read for a handshake.
		conn, err := p.raw(&tls.Config{InsecureSkipVerify: true}, "") //nolint:gosec // It is the test's own server.
		if err != nil {
			return false
		}
		defer conn.Close()
		expires := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].NotAfter
		return time.Until(expires) < 48*time.Hour
	})
	for what, status := range map[string]int{
		"credential": p.call(http.MethodPost, path, "wrong", `{"payment":"p"}`) - http.StatusBadRequest,
		"body":       p.call(http.MethodPost, path, "secret-of-default", `{}`) - http.StatusBadRequest,
		"size":       p.call(http.MethodPost, path, "secret-of-default", strings.Repeat("x", 70_000)) - http.StatusRequestEntityTooLarge,
		"method":     p.call(http.MethodGet, path, "secret-of-default", "") - http.StatusMethodNotAllowed,
	} {
		if status != 0 {
			p.t.Errorf("a wrong %s is answered with a status that is %d too high", what, status)
		}
	}
	for range 25 {
		_ = p.call(http.MethodPost, "/wrong", "", "")
		conn, err := p.raw(&tls.Config{InsecureSkipVerify: true}, "this is not HTTP\r\n\r\n") //nolint:gosec // It is the test's own server.
		if err == nil {
			_, _ = conn.Read(make([]byte, 512)) // The answer.
			_ = conn.Close()
		}
	}
	for range 5 {
		_ = p.call(http.MethodPost, "/v1/sandbox/acme/notifications", "secret-of-acme", `{"payment":"first"}`)
	}
	var open []net.Conn
	for range 12 { // Four more than it holds.
		if conn, err := p.raw(&tls.Config{InsecureSkipVerify: true}, "POST /"); err == nil { //nolint:gosec // It is the test's own server.
			open = append(open, conn)
		}
	}
	for _, conn := range open {
		_ = conn.Close()
	}
	if !p.distrusts() {
		p.t.Error("a client that does not know the certificate does not refuse it")
	}
	testbench.Must(p.t, os.WriteFile(p.tls.File, []byte("no certificate"), 0o600))
	p.until("the gateway to look at the file", func() bool {
		_ = p.call(http.MethodGet, "/", "", "")
		_, body, _ := p.get("http://" + p.address("gateway/admin") + "/metrics")
		return !strings.Contains(string(body), "arauto_tls_reload_failures_total 0")
	})
}

// invented is how many payments the provider does not know: more than ArautoPaymentsUnknown
// takes for a typing error.
const invented = 30

// badAnswers has the provider say what cannot be used.
func badAnswers(p *plant, w *watcher) {
	w.round(time.Minute)
	for i := range invented {
		p.notify("default", fmt.Sprintf("invented-%d", i))
	}
	p.provider.set("odd", "marvelous")
	p.notify("default", "odd")
	unit := subject.Unit{Provider: "sandbox", Account: "default", Payment: "new"}
	body := record.Notification{ID: "new", Provider: unit.Provider, Account: unit.Account, Kind: order.Payment, Payment: unit.Payment, ReceivedAt: time.Now(), Unknown: "payment.new"}
	_, err := p.js.Publish(p.ctx, unit.Notification(), body.AppendTo(nil))
	testbench.Must(p.t, err)
	p.provider.set("torn", "garbage")
	p.notify("default", "torn")
	p.notify("broke", "first")
	_, err = p.js.Publish(p.ctx, "orders.sandbox.default.scribbled.scribbled.paid", []byte("no event"))
	testbench.Must(p.t, err)
	p.provider.set("scribbled", "paid")
	p.notify("default", "scribbled")
}

// goodAnswers mends what badAnswers has broken, as an operator does.
func goodAnswers(p *plant) {
	p.configured = strings.Replace(p.configured, "token: refused", "token: good", 1)
	p.configure(p.configured)
	for i := range invented {
		p.provider.set(fmt.Sprintf("invented-%d", i), "paid")
	}
	p.provider.set("torn", "paid")
	p.kill("lookup")
	p.restart("lookup")
	p.asked("torn")
	for i := range invented { // None may be looked up while the provider is away, because it would then wait for hours.
		p.asked(fmt.Sprintf("invented-%d", i))
	}
	p.arauto("operator", "circuit", "close", "--provider", "sandbox", "--account", "broke")
}

// junk is what fills each stream beyond its alarm, while nothing reads it.
var junk = []struct {
	stream, subject string
	bytes           int
}{
	{"NOTIFICATIONS", "notifications.sandbox.default.junk", 12_000_000},
	{"ORDERS", "orders.sandbox.default.junk.junk.paid", 13_500_000},
	{"ORDER_PAYMENTS", "order-payments.%d.sandbox.default.junk", 2_500_000},
	{"EXPECTATIONS", "expect.sandbox.default.junk%d", 600_000},
	{"OUTCOMES", "expectations.sandbox.default.junk.paid", 1_800_000},
	{"STATUSES", "statuses.sandbox.default.junk", 7_700_000},
	{"LOOKUP_RETRIES", "lookup.due.sandbox.default.junk", 9_000_000},
	{"DEAD_LETTERS", "dead.ours.lookup.sandbox.default.junk", 3_000_000},
}

func killAndFill(p *plant, _ *watcher) {
	for _, role := range []string{"lookup", "normalize", "expect"} {
		p.kill(role)
	}
	for _, j := range junk {
		p.fill(j.stream, j.subject, j.bytes)
	}
}

func purgeAndRestart(p *plant) {
	for _, j := range junk {
		if j.stream != subject.DeadLetters {
			p.purge(j.stream, strings.NewReplacer("junk%d", "*", "%d", "*").Replace(j.subject))
		}
	}
	for _, role := range []string{"lookup", "normalize", "expect"} {
		p.restart(role)
	}
	// All of it: sweep forgets letters that were removed from the stream's begin alone.
	p.purge(subject.DeadLetters, ">")
}
