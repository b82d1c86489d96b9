package browser

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// tab is a window of its own, with its own cookies. What it must never see fails the test:
// a request to another host, a violation of the policy, an error of a script, a dialog.
type tab struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // That of chromedp.
	base string

	mu     sync.Mutex
	errors []string
	status int // Of the last document.
}

// tolerated are beginnings of messages that are no fault of the pages.
var tolerated = []string{"Failed to load resource: the server responded with a status of 4", "Failed to load resource: the server responded with a status of 503", "Failed to load resource: net::ERR_"}

// newTab opens a tab at the system's console, or fails without a browser.
func newTab(t *testing.T) *tab {
	t.Helper()
	if shared.missing != "" {
		t.Fatal(shared.missing)
	}
	return tabAt(t, shared.at["console"])
}

func tabAt(t *testing.T, base string) *tab {
	t.Helper()
	b := &tab{t: t, base: base}
	ctx, cancel := chromedp.NewContext(shared.browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	b.ctx = ctx
	b.must(chromedp.Do(ctx))
	b.must(chromedp.Listen(ctx, b.see))
	b.size(1280, 900)
	t.Cleanup(func() {
		for _, wrong := range b.seen() {
			t.Errorf("the browser saw: %s", wrong)
		}
	})
	return b
}

func (b *tab) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// see gets every event of the tab.
func (b *tab) see(event any) {
	wrong := ""
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Scheme != "data" && u.Scheme+"://"+u.Host != b.base {
			wrong = "request to " + e.Request.URL
		}
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument {
			b.mu.Lock()
			b.status = int(e.Response.Status)
			b.mu.Unlock()
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && !begins(e.Entry.Text, tolerated) {
			wrong = "error: " + e.Entry.Text
		}
	case *runtime.EventExceptionThrown:
		wrong = "exception: " + e.ExceptionDetails.Text
	case *page.EventJavascriptDialogOpening:
		wrong = "dialog: " + e.Message
	}
	if wrong != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.errors = append(b.errors, wrong)
	}
}

func begins(text string, with []string) bool {
	for _, w := range with {
		if strings.HasPrefix(text, w) {
			return true
		}
	}
	return false
}

// seen takes what the browser has complained about so far.
func (b *tab) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.errors
	b.errors = nil
	return all
}

func (b *tab) limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, longest)
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := b.limited()
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%v; the page is\n%s", err, b.text())
	}
}

// get opens a page and returns its status.
func (b *tab) get(path string) int {
	b.t.Helper()
	ctx, cancel := b.limited()
	defer cancel()
	answer, err := chromedp.Run(ctx, chromedp.NavigateResponse(b.base+path))
	if err != nil {
		b.t.Fatalf("open %s: %v", path, err)
	}
	return int(answer.Status)
}

// click clicks what leads to another page, and waits for that.
func (b *tab) click(selector string) int {
	b.t.Helper()
	ctx, cancel := b.limited()
	defer cancel()
	answer, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
	if err != nil {
		b.t.Fatalf("click %s: %v; the page is\n%s", selector, err, b.text())
	}
	return int(answer.Status)
}

// link is the selector of a link or button by what it says, with which it is marked first.
func (b *tab) link(says string) string {
	b.t.Helper()
	b.await(fmt.Sprintf("a link or button that says %q", says), fmt.Sprintf(`(() => {
		document.querySelectorAll("[data-walk]").forEach((one) => one.removeAttribute("data-walk"));
		const found = [...document.querySelectorAll("a, button")].find((one) => one.textContent.trim() === %q);
		if (!found) return false;
		found.setAttribute("data-walk", "");
		return true;
	})()`, says))
	return "[data-walk]"
}

// text is what the page shows.
func (b *tab) text() string {
	ctx, cancel := b.limited()
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`))
	if err != nil {
		return err.Error()
	}
	return text
}

// shows waits until the page shows a text. The page refreshes itself.
func (b *tab) shows(text string) {
	b.t.Helper()
	b.await(fmt.Sprintf("%q to be shown", text), fmt.Sprintf(`document.body && document.body.innerText.includes(%q)`, text))
}

// await waits until an expression is true in the page.
func (b *tab) await(what, expression string) {
	b.t.Helper()
	ctx, cancel := b.limited()
	defer cancel()
	for {
		met, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if err == nil && met {
			return
		}
		select { // A page that is being replaced has no context for a moment.
		case <-ctx.Done():
			b.t.Fatalf("waited in vain for %s: %v; %s shows\n%s", what, err, b.location(), b.text())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (b *tab) has(selector string) bool {
	b.t.Helper()
	return eval[bool](b, fmt.Sprintf(`document.querySelector(%q) !== null`, selector))
}

func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := b.limited()
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

func (b *tab) location() string {
	ctx, cancel := b.limited()
	defer cancel()
	at, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	return strings.TrimPrefix(at, b.base)
}

func (b *tab) size(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

// scheme is light or dark.
func (b *tab) scheme(value string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}},
		})
		return err
	}))
}

// localPassword is that of the persons of `make run`.
const localPassword = "only on this machine" //nolint:gosec // G101: it is public.

func (b *tab) login(name string) {
	b.t.Helper()
	b.get("/login")
	b.do(chromedp.SendKeys(chromedp.ID("name"), name), chromedp.SendKeys(chromedp.ID("password"), localPassword))
	if status := b.click("button[type=submit]"); status != http.StatusOK {
		b.t.Fatalf("the log-in of %s got %d: %s", name, status, b.text())
	}
	b.shows(name)
}

// languages are what the browser asks for.
func (b *tab) languages(accept string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": accept}})
		return err
	}))
}
