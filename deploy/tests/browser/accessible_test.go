package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"arauto/deploy/runtime/testbench"
)

// everyPage are the pages with something on them, after play has run.
var everyPage = []struct{ name, path string }{
	{"now", "/"},
	{"payments", "/payments"},
	{"search", "/payments?q=shown-refunded"},
	{"payment", "/payments/picpay/default/shown-refunded"},
	{"pending", "/payments/sandbox/acme/shown-pending"},
	{"unknown", "/payments/sandbox/default/shown-unknown"},
	{"dead", "/dead"},
	{"providers", "/providers"},
	{"broker", "/broker"},
	{"replay", "/act/replay?provider=picpay&account=default&payment=shown-refunded"},
	{"discard", "/act/discard?class=provider"},
	{"retry", "/act/retry?provider=sandbox&account=acme&payment=shown-pending"},
	{"redrive", "/act/redrive?class=provider"},
	{"open", "/act/open?provider=picpay&account=default"},
	{"close", "/act/close?provider=picpay&account=default"},
	{"hold", "/act/hold"},
	{"resume", "/act/resume"},
	{"missing", "/nothing"},
	{"login", "/login"},
}

// play makes payments of each sort: moving, finished, waiting, and with a word that is not
// known. The tests of this package run one after another, and share them.
func play(t *testing.T, b *tab) {
	t.Helper()
	if shared.played {
		return
	}
	for _, step := range []map[string]any{{"status": "created"}, {"status": "paid"}, {"status": "paid", "refunded": 4000}, {"status": "refunded", "refunded": 10000}} {
		step["order"] = "shown-order"
		set(t, "picpay", "default", "shown-refunded", step)
		b.get("/payments/picpay/default/shown-refunded")
		b.await("the next event", fmt.Sprintf(`document.querySelectorAll(".timeline details").length >= %d`, map[any]int{"created": 1, "paid": 2, "refunded": 4}[step["status"]]+map[bool]int{true: 1}[step["status"] == "paid" && step["refunded"] != nil]))
	}
	for i := range 12 {
		set(t, "picpay", []string{"default", "acme"}[i%2], fmt.Sprintf("shown-%d", i), map[string]any{"status": []string{"paid", "created", "analysis"}[i%3], "amount": 1990 * (i + 1)})
	}
	fail(t, "sandbox", map[string]any{"kind": "404", "payment": "shown-pending"})
	set(t, "sandbox", "acme", "shown-pending", map[string]any{"status": "pending", "order": "shown-order-2"})
	set(t, "sandbox", "default", "shown-unknown", map[string]any{"status": "reversed_by_bank"})
	b.get("/dead")
	b.shows("reversed_by_bank")
	b.get("/payments/sandbox/acme/shown-pending")
	b.await("it to wait", `document.querySelector(".waits") !== null`)
	shared.played = true
}

// finding is what axe says about a page.
type finding struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// TestPagesAreAccessible: WCAG 2.2 AA by axe, on every page, light and dark, narrow and wide.
func TestPagesAreAccessible(t *testing.T) {
	b, axe := newTab(t), axeCore(t)
	b.login("operator")
	play(t, b)
	for _, look := range []struct {
		scheme, language string
		width            int64
	}{{"light", "en", 1280}, {"dark", "en", 375}, {"light", "pt-BR", 375}} {
		b.scheme(look.scheme)
		b.size(look.width, 800)
		b.languages(look.language)
		for _, page := range everyPage {
			b.get(page.path)
			b.accessible(axe, fmt.Sprintf("%s, %s, %s, %d px", page.name, look.scheme, look.language, look.width))
		}
	}
}

// TestPagesOfRareMomentsAreAccessible: an action that was refused, a job that runs, and a
// console without its broker.
func TestPagesOfRareMomentsAreAccessible(t *testing.T) {
	b, axe := newTab(t), axeCore(t)
	b.login("operator")
	play(t, b)
	b.get("/act/replay?provider=picpay&account=default&payment=shown-refunded")
	eval[bool](b, `(document.querySelector("form.confirm").action = "/act/retry") !== ""`) // For a payment that waits for nothing.
	if status := b.click("form.confirm button"); status != http.StatusConflict {
		t.Errorf("a retry of nothing is %d", status)
	}
	b.accessible(axe, "acted")

	for i := range 80 { // A job does 10 a second.
		set(t, "sandbox", "default", fmt.Sprintf("shown-job-%d", i), map[string]any{"status": "odd_for_a_job"})
	}
	b.get("/dead?word=odd_for_a_job")
	b.await("all dead letters", `[...document.querySelectorAll("td.n a")].some((one) => one.textContent === "80")`)
	b.get("/act/discard?word=odd_for_a_job")
	b.do(chromedp.SendKeys(chromedp.ID("reason"), "a test"))
	b.click("form.confirm button")
	b.accessible(axe, "job")
	if !b.has(`form[action="/act/cancel"]`) {
		t.Error("the job had ended before it was looked at")
	}
	b.click(`form[action="/act/cancel"] button`)

	proxy := testbench.NewProxy(t, strings.TrimPrefix(shared.at["NATS"], "nats://"), nil, nil)
	away := tabAt(t, ownConsole(t, "nats://"+proxy.Addr))
	proxy.Refuse(true)
	proxy.Cut()
	if status := away.get("/payments/picpay/default/shown-refunded"); status != http.StatusServiceUnavailable {
		t.Errorf("without the broker the page is %d", status)
	}
	away.accessible(axe, "failed")
}

// axeCore is the source of axe. A machine that cannot install it fails the test.
func axeCore(t *testing.T) string {
	t.Helper()
	t.Cleanup(func() {
		if t.Skipped() {
			t.Error("without axe nothing says that the pages are accessible")
		}
	})
	packages := testbench.Node(t, "axe-core@4.14.1")
	axe, err := os.ReadFile(filepath.Join(packages.Folder, "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(axe)
}

// accessible fails the test for what axe finds on the open page.
func (b *tab) accessible(axe, page string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Evaluate[chromedp.Void](axe+"\n;undefined")(ctx, t)
		return err
	}))
	text := eval[string](b, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations))`)
	var found []finding
	b.must(json.Unmarshal([]byte(text), &found))
	for _, f := range found {
		b.t.Errorf("%s: %s (%s): %s: %s", page, f.ID, f.Impact, f.Help, first(f))
	}
}

func first(f finding) string {
	if len(f.Nodes) == 0 {
		return ""
	}
	return f.Nodes[0].HTML + " " + strings.Join(strings.Fields(f.Nodes[0].Summary), " ")
}

// TestPagesFitEveryWidth: at 375 px nothing but tables in their own frame is wider than the
// window, and at 2560 px lines stay readable.
func TestPagesFitEveryWidth(t *testing.T) {
	b := newTab(t)
	b.login("operator")
	play(t, b)
	for _, width := range []int64{375, 2560} {
		b.size(width, 900)
		for _, page := range everyPage {
			b.get(page.path)
			if wide := eval[int64](b, `document.documentElement.scrollWidth`); wide > width {
				widest := eval[string](b, `[...document.querySelectorAll("main *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".wide")).map((one) => one.outerHTML.slice(0, 120)).slice(0, 3).join(" | ")`)
				t.Errorf("%s at %d px is %d px wide: %s", page.name, width, wide, widest)
			}
			if longest := eval[float64](b, `Math.max(0, ...[...document.querySelectorAll("main p")].map((one) => { const range = document.createRange(); range.selectNodeContents(one); return range.getBoundingClientRect().width; }))`); longest > 1400 {
				t.Errorf("%s at %d px has a paragraph of %.0f px", page.name, width, longest)
			}
		}
	}
}

// TestEverythingIsReachedByKeys: the first key leads to the content, and each link and button
// shows that it has the focus.
func TestEverythingIsReachedByKeys(t *testing.T) {
	b := newTab(t)
	b.login("operator")
	b.get("/payments")
	b.do(chromedp.KeyEvent("\t"))
	if href := eval[string](b, `document.activeElement.getAttribute("href") || ""`); href != "#content" {
		t.Errorf("the first key leads to %q", href)
	}
	var seen []string
	for range 12 {
		b.do(chromedp.KeyEvent("\t"))
		at := eval[string](b, `(() => { const one = document.activeElement, style = getComputedStyle(one);
			return (one.getAttribute("href") || one.id || one.name || one.textContent.trim()) + (style.outlineStyle === "none" && style.boxShadow === "none" ? " without a mark" : ""); })()`)
		if strings.HasSuffix(at, "without a mark") {
			t.Errorf("the focus is not seen on %s", at)
		}
		seen = append(seen, at)
	}
	for _, link := range []string{"/", "/payments", "/dead", "/providers", "/broker", "q"} {
		if !slices.Contains(seen, link) {
			t.Errorf("keys lead to %v, not to %s", seen, link)
		}
	}
}

// TestPagesSpeakPortuguese: a browser that asks for it gets it, with the language in the
// document.
func TestPagesSpeakPortuguese(t *testing.T) {
	b := newTab(t)
	b.languages("pt-BR,pt;q=0.9")
	b.get("/payments?q=" + url.QueryEscape("não há"))
	if lang := eval[string](b, `document.documentElement.lang`); lang != "pt-BR" {
		t.Errorf("the language is %q", lang)
	}
	b.shows("Pagamentos")
	b.get("/login")
	b.shows("Senha")
}
