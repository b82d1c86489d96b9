package privacy

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/expectation"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
	"arauto/workers/workertest"
)

// The payments and the order that are erased. The order of the third payment is a person.
const (
	firstPayment, secondPayment, thirdPayment = "erased-first-4711", "erased-second-4711", "erased-third-4711"
	expectedPayment                           = "erased-expected-4711" // The provider does not know it yet.
	erasedOrder                               = "erased-order-4711"
)

// erasedTexts are what must not be found once they are erased.
func erasedTexts() []canary {
	return []canary{
		{kind: "first payment", text: firstPayment}, {kind: "second payment", text: secondPayment}, {kind: "third payment", text: thirdPayment},
		{kind: "expected payment", text: expectedPayment}, {kind: "order", text: erasedOrder}, {kind: "person", text: ids[3].text},
	}
}

// live has three payments, which are to be erased, and others before, between and behind go
// through everything that is stored about one.
func (p *plant) live() {
	p.T.Helper()
	known, _ := providers.All.Get("sandbox")
	unit := known.Sample.Units[0]
	told := func(id, order, word string) {
		p.T.Helper()
		state := provider.State{Account: provider.DefaultAccount, Unit: unit.Name, ID: id, Order: order, Status: word, Amount: 10000}
		p.set(known, unit, state)
		if status, answer := p.post(known, provider.DefaultAccount, known.Sample.Webhook(state), nil, ""); status != http.StatusOK {
			p.T.Fatalf("the webhook gave %d %s", status, answer)
		}
	}
	p.proxy.on(secondPayment, func(r *http.Response, _ []byte) []byte {
		r.StatusCode = http.StatusInternalServerError
		return []byte("{}")
	})
	for i := range 20 {
		told(fmt.Sprintf("other-%d", i), fmt.Sprintf("order-%d", i), "paid")
		switch i {
		case 5:
			told(firstPayment, erasedOrder, "pending")
			p.drained()
		case 10:
			told(firstPayment, erasedOrder, "paid")
			told(secondPayment, erasedOrder, "paid")
			told(thirdPayment, ids[3].text, "paid")
		}
	}
	p.Until("the dead letter of the second payment", func() bool {
		return len(p.Messages(subject.DeadLetters, "dead.*.*.sandbox.default."+secondPayment)) > 0
	})
	p.Until("all look-ups to be made", func() bool { return p.Stream(subject.LookupRetries).CachedInfo().State.Msgs == 0 })
	p.drained()
	p.expect()
}

// expect announces two expected payments. The first is paid. The provider does not know the
// second, so its look-up stays scheduled. The outcome of another payment names the first.
func (p *plant) expect() {
	p.T.Helper()
	first, open := p.Unit(firstPayment), p.Unit(expectedPayment)
	p.Publish(first.Expected(), expectation.Expectation{Order: erasedOrder})
	p.Publish(open.Expected(), expectation.Expectation{Order: erasedOrder})
	p.Publish(p.Unit("other-0").Outcome(string(expectation.PaidTwice)), expectation.Outcome{
		Provider: "sandbox", Account: "default", Payment: "other-0", Outcome: expectation.PaidTwice, Version: expectation.UnreadableVersion(nil),
		At: time.Now().UTC(), Other: &expectation.Payment{Provider: "sandbox", Account: "default", Payment: firstPayment},
	})
	p.Until("the outcome of the first payment, and the scheduled look-up of the expected one", func() bool {
		return len(p.Messages(subject.Outcomes, first.Outcomes())) > 0 && len(p.Messages(subject.Expectations, first.Expected())) == 0 &&
			len(p.Messages(subject.LookupRetries, "lookup.parked.>")) > 0
	})
}

// forget erases the payments, and lets the hour pass in which they are refused.
func (p *plant) forget() {
	p.T.Helper()
	others := p.others()
	for _, id := range []string{erasedOrder, ids[3].text} {
		if output, code := p.arauto("forget", "forget", id, "--yes"); code != 0 || !strings.Contains(string(output), "refused until") {
			p.T.Fatalf("arauto forget: code %d, %s", code, output)
		}
	}
	if left := p.others(); left != others || left < 40 {
		p.T.Errorf("of other payments %d messages are left of %d", left, others)
	}
	for _, payment := range []string{firstPayment, secondPayment, thirdPayment, expectedPayment} {
		workertest.Bench{Bench: p.Bench}.EndRefusal(payment)
		if output, code := p.arauto("forget", "forget", payment, "--yes"); code != 0 {
			p.T.Fatalf("arauto forget after the hour: code %d, %s", code, output)
		}
	}
}

// others counts the messages about other payments.
func (p *plant) others() (n int) {
	for _, name := range []string{subject.Notifications, subject.Statuses, subject.Orders} {
		for _, raw := range p.Messages(name, ">") {
			if strings.Contains(raw.Subject, ".other-") {
				n++
			}
		}
	}
	return n
}

// eachFile calls visit with every file below a folder.
func eachFile(t testing.TB, folder string, visit func(name string, data []byte)) {
	t.Helper()
	testbench.Must(t, filepath.WalkDir(folder, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		if err == nil {
			visit(strings.TrimPrefix(name, folder), data)
		}
		return err
	}))
}

// TestForgetLeavesNothingOnTheDisk erases payments and then reads the broker's files. The
// index of a stream, which has its subjects, is written two and a half minutes later at the
// latest, or when the broker stops, which the test has it do.
func TestForgetLeavesNothingOnTheDisk(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	p.live()
	store, there := filepath.Join(p.dir, "store"), newSearch(t, erasedTexts())
	held := 0
	eachFile(t, store, func(_ string, data []byte) {
		if there.finds(data) {
			held++
		}
	})
	if held < 4 {
		t.Errorf("before the erasure %d files hold something of the payments", held)
	}
	index, first := filepath.Join(p.dir, "index-of-the-console"), newSearch(t, erasedTexts()[:1])
	indexed := func() (found bool) {
		eachFile(t, index, func(_ string, data []byte) { found = found || first.finds(data) })
		return found
	}
	p.Until("the console's index to have the payments", indexed)
	p.forget()
	p.Until("the console's index to be written again", func() bool { return !indexed() })
	for _, role := range roles {
		p.stop(role)
	}
	p.stop("nats-server")
	eachFile(t, store, func(name string, data []byte) { there.in("the broker's file "+name, data) })
	eachFile(t, index, func(name string, data []byte) { there.in("the console's file "+name, data) })
	for _, role := range roles {
		log, err := os.ReadFile(filepath.Join(p.dir, role+".log"))
		p.Must(err)
		if person := newSearch(t, erasedTexts()[5:]); person.finds(log) {
			t.Errorf("the log of %s names the person", role)
		}
	}
}
