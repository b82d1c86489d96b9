package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// evil are texts that a page must show and never run.
var evil = []string{
	`"><script>alert(1)</script>`, `'><img src=x onerror=alert(2)>`, `</pre></code><svg onload=alert(3)>`, `javascript:alert(4)`, `{{.Token}}`,
}

// TestWordsOfOthersStayWords: what a webhook, an order and a provider's answer say goes
// through the real gateway and workers, and every page shows it as text.
func TestWordsOfOthersStayWords(t *testing.T) {
	b := newTab(t)
	b.login("operator")
	for i, text := range evil {
		set(t, "sandbox", "default", text, map[string]any{"status": "paid", "order": text})
		set(t, "sandbox", "default", fmt.Sprintf("walk-evil-%d", i), map[string]any{"status": text, "order": text})
	}
	for i, text := range evil {
		b.get("/payments?q=" + url.QueryEscape(text))
		if got := eval[string](b, `document.getElementById("q").value`); got != text {
			t.Errorf("the search shows %q, want %q", got, text)
		}
		b.get("/payments?q=" + url.QueryEscape(fmt.Sprintf("walk-evil-%d", i)))
		b.get(fmt.Sprintf("/payments/sandbox/default/walk-evil-%d", i))
		b.shows(text)
		for _, path := range []string{"/payments/sandbox/default/" + url.PathEscape(text), "/dead?word=" + url.QueryEscape(text), "/dead?cause=" + url.QueryEscape(text),
			"/payments?status=" + url.QueryEscape(text), "/act/" + url.PathEscape(text), "/act/discard?word=" + url.QueryEscape(text), "/login?next=" + url.QueryEscape(text), "/" + url.PathEscape(text)} {
			b.get(path)
			b.nothingRan(path)
		}
	}
	_, js := testbench.Connect(t, shared.at["NATS"])
	for i, text := range evil { // The simulator gives no reason.
		on := subject.Unit{Provider: "sandbox", Account: "default", Payment: fmt.Sprintf("walk-reason-%d", i)}
		event, err := json.Marshal(order.Event{
			Provider: on.Provider, Account: on.Account, Kind: order.Payment, Payment: on.Payment, Order: on.Payment, Transition: 1, Status: order.Refused, ProviderStatus: "refused", Reason: &text, Confirmed: true, ObservedAt: time.Now().UTC(), Observation: 1,
		})
		b.must(err)
		ctx, cancel := b.limited()
		_, err = js.Publish(ctx, on.Event(on.Payment, order.Refused), event)
		cancel()
		b.must(err)
		b.get("/payments/sandbox/default/" + on.Payment)
		b.await("the event", `document.querySelector(".timeline details") !== null`)
		b.do(chromedp.Click(chromedp.CSS(".timeline summary")))
		b.await("the reason", fmt.Sprintf(`JSON.parse(document.querySelector(".timeline pre").innerText).reason === %q`, text))
		b.nothingRan("the reason " + text)
	}
	b.get("/dead")
	b.shows(evil[0])
	for _, path := range []string{"/", "/payments", "/dead", "/providers", "/broker"} {
		b.get(path)
		b.nothingRan(path)
	}
}

// nothingRan fails if a page has an element of the attacker.
func (b *tab) nothingRan(path string) {
	b.t.Helper()
	if found := eval[string](b, `[...document.querySelectorAll("[onerror], [onload], script:not([src]), img[src=x], a[href^='javascript:']")].map((one) => one.outerHTML).join(" ")`); found != "" {
		b.t.Errorf("%s has %s", path, found)
	}
}

// TestPageOfAnotherSiteCannotAct: it has a form that sends itself, in a browser whose person
// is logged in.
func TestPageOfAnotherSiteCannotAct(t *testing.T) {
	b := newTab(t)
	set(t, "sandbox", "default", "walk-foreign", map[string]any{"status": "paid"})
	b.login("operator")
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<title>foreign</title><form method="post" action="%s/act/replay"><input name="provider" value="sandbox"><input name="account" value="default"><input name="payment" value="walk-foreign"></form>
<iframe src="%[1]s/"></iframe><script>fetch("%[1]s/", {credentials: "include"}).then((a) => a.text()).then((text) => { document.title = "read"; }, () => { document.title = "kept"; })</script>`, b.base)
	}))
	t.Cleanup(foreign.Close)
	own := b.base
	ctx, cancel := b.limited()
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(foreign.URL)); err != nil {
		t.Fatal(err)
	}
	b.await("the read to be refused", `document.title === "kept" || document.title === "read"`)
	if title := eval[string](b, `document.title`); title != "kept" {
		t.Error("another site reads the console")
	}
	answer, err := chromedp.RunResponse(ctx, chromedp.Evaluate[chromedp.Void](`document.forms[0].submit()`))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != http.StatusForbidden {
		t.Errorf("the form of another site got %d", answer.Status)
	}
	b.shows("Nothing was changed")
	// The tab was at the other site on purpose, whose frame and read the console refused.
	if complaints := b.seen(); len(complaints) == 0 {
		t.Error("the browser refused nothing")
	}
	b.base = own
}
