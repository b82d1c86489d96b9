package browser

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// TestSupportPersonFindsWhyAPaymentIsPending: from the front page, without a log-in, to the
// reason; nothing there acts before a log-in, which leads to the same page and to a retry.
func TestSupportPersonFindsWhyAPaymentIsPending(t *testing.T) {
	b := newTab(t)
	fail(t, "sandbox", map[string]any{"kind": "404", "payment": "walk-support"})
	set(t, "sandbox", "acme", "walk-support", map[string]any{"status": "paid", "order": "order-of-support"})
	if status := b.get("/"); status != http.StatusOK {
		t.Fatalf("the front page is %d", status)
	}
	b.click(b.link("Payments"))
	b.do(chromedp.SendKeys(chromedp.ID("q"), "walk-support"))
	b.click(b.link("Search"))
	b.click(b.link("walk-support"))
	b.await("the reason why it waits", `document.querySelector(".waits") !== null`)
	why := eval[string](b, `document.querySelector(".waits").innerText`)
	if !strings.Contains(why, "the provider not knowing the payment") {
		t.Errorf("it says %q", why)
	}
	for _, acting := range []string{`a[href^="/act/"]`, `form[action^="/act/"]`} {
		if b.has(acting) {
			t.Errorf("a person without a role is shown %s", acting)
		}
	}
	fail(t, "sandbox", map[string]any{"kind": "none"})
	b.click(b.link("Log in to act"))
	b.do(chromedp.SendKeys(chromedp.ID("name"), "operator"), chromedp.SendKeys(chromedp.ID("password"), localPassword))
	b.click("button[type=submit]")
	if at := b.location(); at != "/payments/sandbox/acme/walk-support" {
		t.Errorf("the log-in leads to %s", at)
	}
	b.click(b.link("Retry now"))
	b.click("form.confirm button")
	b.audited("retry_now", "operator")
	b.await("the payment to be paid", `[...document.querySelectorAll(".facts dd")].some((one) => one.innerText.toLowerCase().startsWith("paid"))`)
}

// TestEngineerSeesADeadProviderAndRetries: the red thing, the circuit, and the retry of a
// payment, which leaves the person's name on AUDIT.
func TestEngineerSeesADeadProviderAndRetries(t *testing.T) {
	b := newTab(t)
	t.Cleanup(func() { fail(t, "sandbox", map[string]any{"kind": "none"}) })
	fail(t, "sandbox", map[string]any{"kind": "401", "account": "default"})
	set(t, "sandbox", "default", "walk-engineer", map[string]any{"status": "paid"})
	b.login("operator")
	b.get("/")
	b.await("a red thing at the top", `document.querySelector("main .red") !== null`)
	b.get("/providers")
	b.await("the circuit of the account", `[...document.querySelectorAll("article")].some((one) => one.innerText.includes("sandbox/default") && one.querySelector(".red"))`)
	fail(t, "sandbox", map[string]any{"kind": "none"})
	b.get("/payments/sandbox/default/walk-engineer")
	b.click(b.link("Retry now"))
	b.shows("operator")
	b.click("form.confirm button")
	b.get("/payments/sandbox/default/walk-engineer")
	b.audited("retry_now", "operator")
	b.await("the payment to be paid", `[...document.querySelectorAll(".facts dd")].some((one) => one.innerText.toLowerCase().startsWith("paid"))`)
}

func TestReaderIsRefusedWhatOperatorsDo(t *testing.T) {
	b := newTab(t)
	b.login("reader")
	set(t, "sandbox", "default", "walk-reader", map[string]any{"status": "paid"})
	b.get("/payments/sandbox/default/walk-reader")
	if b.has(`a[href^="/act/"]`) {
		t.Error("a reader is shown an action")
	}
	if status := b.get("/act/replay?provider=sandbox&account=default&payment=walk-reader"); status != http.StatusForbidden {
		t.Errorf("the page of an action is %d for a reader", status)
	}
	b.get("/payments/sandbox/default/walk-reader")
	status := eval[int](b, `fetch("/act/replay", {method: "POST", headers: {"Content-Type": "application/x-www-form-urlencoded"},
		body: new URLSearchParams({provider: "sandbox", account: "default", payment: "walk-reader", csrf: document.querySelector("[name=csrf]").value})}).then((answer) => answer.status)`)
	if status != http.StatusForbidden {
		t.Errorf("the action of a reader got %d", status)
	}
	b.click(b.link("Log out"))
	if strings.Contains(b.text(), "reader") {
		t.Errorf("after the log-out the page shows\n%s", b.text())
	}
}

// audited waits for an entry on AUDIT with a verb and a person's name.
func (b *tab) audited(verb, who string) {
	b.t.Helper()
	_, js := testbench.Connect(b.t, shared.at["NATS"])
	ctx, cancel := b.limited()
	defer cancel()
	stream, err := js.Stream(ctx, subject.Audit)
	b.must(err)
	entry, err := stream.GetLastMsgForSubject(ctx, subject.AuditEntry(verb))
	b.must(err)
	var audit record.Audit
	b.must(json.Unmarshal(entry.Data, &audit))
	if audit.Who != who || audit.Verb != verb {
		b.t.Errorf("AUDIT has %+v, want %s by %s", audit, verb, who)
	}
}
