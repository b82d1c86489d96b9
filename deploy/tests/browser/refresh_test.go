package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
)

// moved counts the payments that were made for refreshes.
var moved atomic.Int64

// refreshed waits until the content of the page was replaced, once what it shows has changed.
func (b *tab) refreshed(what string) {
	b.t.Helper()
	eval[bool](b, `document.querySelector("#content h1").dataset.old = true`)
	set(b.t, "picpay", "default", fmt.Sprintf("refresh-%d", moved.Add(1)), map[string]any{"status": "paid", "amount": 1990})
	b.await("the page to be refreshed "+what, `document.querySelector("#content h1") && !document.querySelector("#content h1[data-old]")`)
}

// TestRefreshLeavesThePersonWhereTheyAre: the focus, what is open or closed, what is scrolled
// and what is selected.
func TestRefreshLeavesThePersonWhereTheyAre(t *testing.T) {
	b := newTab(t)
	b.login("operator")
	play(t, b)
	b.size(500, 900)
	b.get("/payments")
	eval[bool](b, `(() => { document.querySelector("#totals > summary").click(); document.querySelectorAll(".wide")[1].scrollLeft = 40; document.querySelector("#totals > summary").focus(); return true; })()`)
	b.refreshed("with the focus on a summary")
	if !eval[bool](b, `document.activeElement === document.querySelector("#totals > summary")`) {
		t.Error("the focus on a summary is lost")
	}
	if eval[bool](b, `document.getElementById("totals").open`) {
		t.Error("what was closed is open")
	}
	if left := eval[int](b, `document.querySelectorAll(".wide")[1].scrollLeft`); left != 40 {
		t.Errorf("the list is scrolled to %d", left)
	}
	eval[bool](b, `(document.querySelectorAll(".wide")[1].focus(), true)`)
	b.refreshed("with the focus on a list")
	if !eval[bool](b, `document.activeElement === document.querySelectorAll(".wide")[1]`) {
		t.Error("the focus on a list is lost")
	}
	eval[bool](b, `(() => { window.reads = 0; const read = fetch; window.fetch = (...all) => { reads++; return read(...all); };
		getSelection().selectAllChildren(document.querySelector("h1")); document.querySelector("h1").dataset.old = true; return true; })()`)
	set(t, "picpay", "default", "refresh-while-selected", map[string]any{"status": "paid"})
	b.await("two reads", `reads >= 2`)
	if got := eval[string](b, `String(getSelection())`); got != "Payments" || !b.has("h1[data-old]") {
		t.Errorf("%q is selected after a refresh", got)
	}
	eval[bool](b, `(getSelection().removeAllRanges(), true)`)
	b.await("the page to be refreshed again", `!document.querySelector("h1[data-old]")`)
}

// TestAlertIsSaidOnce: a screen reader reads an alert whenever one is inserted.
func TestAlertIsSaidOnce(t *testing.T) {
	b := newTab(t)
	b.login("operator")
	play(t, b)
	b.get("/")
	b.await("a red thing", `document.querySelector("main .red") !== null`)
	b.get("/")
	if !b.has("main [role=alert]") {
		t.Error("the page has no alert")
	}
	b.refreshed("with an alert")
	b.await("the red thing again", `document.querySelector("main .red") !== null`)
	if b.has("main [role=alert]") || eval[string](b, `document.getElementById("alarm").textContent`) != "" {
		t.Error("a refresh says the same alert again")
	}
}

// TestPageGoesOnAfterARefusedStream: a browser opens no stream again after an answer other than
// 200, as that of a proxy while the console restarts.
func TestPageGoesOnAfterARefusedStream(t *testing.T) {
	if shared.missing != "" {
		t.Fatal(shared.missing)
	}
	to, err := url.Parse(shared.at["console"])
	if err != nil {
		t.Fatal(err)
	}
	var status, streams atomic.Int64
	status.Store(http.StatusServiceUnavailable)
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, FlushInterval: -1}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refused := int(status.Load())
		if refused != 0 && (r.URL.Path == "/live" || r.Header.Get("X-Fragment") != "") {
			http.Error(w, "refused", refused)
			return
		}
		if r.URL.Path == "/live" {
			streams.Add(1)
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.CloseClientConnections)
	b := tabAt(t, proxy.URL)
	b.get("/payments?status=paid")
	b.await("the warning", `!document.getElementById("stale").hidden`)
	status.Store(0)
	b.await("no warning", `document.getElementById("stale").hidden`)
	b.refreshed("after a refused stream")
	if n := streams.Load(); n != 1 {
		t.Errorf("%d streams were opened", n)
	}
	status.Store(http.StatusUnauthorized)
	b.await("the link to the log-in", `!document.getElementById("ended").hidden && document.getElementById("stale").hidden`)
	if next := eval[string](b, `document.querySelector("#ended a").pathname + document.querySelector("#ended a").search`); next != "/login?next=%2Fpayments%3Fstatus%3Dpaid" {
		t.Errorf("the link leads to %s", next)
	}
	status.Store(0)
	b.await("no link to the log-in", `document.getElementById("ended").hidden`)
	b.do(chromedp.Navigate("about:blank"))
}
