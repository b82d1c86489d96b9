package console

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/expectations"
)

func TestPaymentShowsItsWholeStory(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Notify(record.Notification{ID: "n-1", Payment: "p-1", Order: "o-p-1", Fields: map[string]string{"status": "approved"}})
	asked := time.Now().UTC()
	r.Publish(r.Unit("p-1").Status(), order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Order: "o-p-1", Status: order.Pending, ProviderStatus: "waiting",
		Confirmed: true, Cause: order.CauseNotification, AskedAt: asked, AnsweredAt: asked.Add(70 * time.Millisecond), Covers: 1,
		FailedLookUps: []order.FailedLookUp{{At: asked.Add(-time.Minute), Class: "unavailable", Error: "status 503", HTTP: 503, Attempt: 1}},
	})
	r.event("p-1", "", order.Pending, 1)
	r.event("p-1", order.Pending, order.Paid, 2)
	r.park("p-1")
	r.letter("p-1", "strange")
	page := r.browser("joao").see("/payments/sandbox/default/p-1")
	holds(t, page, ">p-1<", "approved", "waiting", "70 ms", "status 503", "HTTP 503", "transition 2", "the provider being unavailable", "3 attempts so far",
		"STATUSES-1", "teach the adapter the word", "&#34;observation&#34;: 2", "R$ 12.34", "a new event", "node been here", ">o-p-1</a>")
	if strings.Contains(page, "/act/") {
		t.Error("a reader is offered an action")
	}
	holds(t, r.browser("maria").see("/payments/sandbox/default/p-1"), "/act/retry?provider=sandbox&amp;account=default&amp;payment=p-1", "/act/redrive?unit=sandbox.default.p-1")
	b := r.browser("joao")
	b.language = "pt-BR,pt;q=0.9,en;q=0.8"
	holds(t, b.see("/payments/sandbox/default/p-1"), `lang="pt-BR"`, "O que ele espera", "R$ 12,34", ">pago<", "tentativas até agora")
	for _, path := range []string{"/payments/sandbox/default/p-2", "/payments/unknown/default/p-1", "/payments/sandbox/de*ault/p-1", "/nothing", "/payments?after=x"} {
		if code, body, _ := b.send(http.MethodGet, path, nil); code != http.StatusNotFound || !strings.Contains(body, "Nada está guardado") {
			t.Errorf("GET %s: %d", path, code)
		}
	}
}

func TestPaymentShowsWhatIsExpectedAndWhatCameOfIt(t *testing.T) {
	t.Parallel()
	r := start(t)
	store, err := expectations.Open(r.Ctx, r.JS, r.Tokens, "")
	r.Must(err)
	deadline := time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC)
	expected := expectation.Expectation{Order: "o-7", Amount: &expectation.Amount{Currency: "BRL", Value: 4321}, Deadline: &deadline}
	_, version, err := store.Announce(r.Ctx, "sandbox", "default", "p-7", expected, "")
	r.Must(err)
	b := r.browser("joao")
	holds(t, b.see("/payments/sandbox/default/p-7"), "no event yet", ">o-7</a>", `class="expected"`, "R$ 43.21", "2099-12-31")
	holds(t, b.see("/payments?q=p-7"), "Found: 1", `href="/payments/sandbox/default/p-7"`)
	var log expectations.Log
	r.Must(store.Publish(r.Ctx, r.Unit("p-7"), &log, expectation.Outcome{
		Provider: "sandbox", Account: "default", Payment: "p-7", Order: &expected.Order, Outcome: expectation.AmountMismatch, Version: version,
		Expected: expected.Amount, Deadline: &deadline, Paid: &expectation.Amount{Currency: "BRL", Value: 1234}, At: time.Now().UTC(),
	}, ""))
	r.Must(store.Publish(r.Ctx, r.Unit("p-7"), &log, expectation.Outcome{
		Provider: "sandbox", Account: "default", Payment: "p-7", Outcome: expectation.Withdrawn, Version: expectation.WithdrawalVersion("p-7", deadline), At: time.Now().UTC(),
	}, ""))
	_, _, err = store.Announce(r.Ctx, "sandbox", "default", "p-7", expectation.Expectation{Withdrawn: true}, "")
	r.Must(err)
	holds(t, b.see("/payments/sandbox/default/p-7"), `class="outcome"`, "paid, but another sum, captured R$ 12.34", "expected: R$ 43.21", "</strong>\nno longer expected", "It is no longer expected.")
	b.language = "pt-BR"
	holds(t, b.see("/payments/sandbox/default/p-7"), "pago, mas outro valor, capturado R$ 12,34")
}

// Everything that a provider or a merchant chooses is text.
func TestWordsFromOutsideAreText(t *testing.T) {
	t.Parallel()
	r := start(t)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>`
	r.Notify(record.Notification{Payment: evil, Order: evil, Fields: map[string]string{"status": evil}})
	reason := evil
	r.event(evil, "", order.Pending, 1, func(e *order.Event) {
		e.Order, e.ProviderStatus, e.Reason, e.ProviderReference = evil, evil, &reason, &reason
	})
	r.letter(evil, evil)
	r.feed()
	r.look()
	b := r.browser("maria")
	for _, path := range []string{
		pathOf(r.Unit(evil)), "/payments/sandbox/default/" + url.PathEscape(evil), "/payments", "/payments?q=" + url.QueryEscape(evil), "/payments?provider=" + url.QueryEscape(evil),
		"/dead", "/dead?word=" + url.QueryEscape(evil) + "&cause=" + url.QueryEscape(evil), "/", "/providers", "/broker", "/act/discard?word=" + url.QueryEscape(evil),
		"/act/replay?provider=sandbox&account=default&payment=" + url.QueryEscape(r.Unit(evil).Payment),
	} {
		page := b.see(path)
		if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img") || strings.Contains(page, "style=") || strings.Contains(page, " onerror=alert(2)>") {
			t.Errorf("GET %s has it as HTML:\n%s", path, page)
		}
	}
	holds(t, b.see(pathOf(r.Unit(evil))), "&lt;script&gt;alert(1)")
}

func TestPersonalIDsAreNotShown(t *testing.T) {
	t.Parallel()
	r := start(t)
	const person = "ana@example.com"
	reference := "52998224725"
	r.Notify(record.Notification{Payment: person, Order: person, Fields: map[string]string{"status": person}})
	r.event(person, "", order.Pending, 1, func(e *order.Event) { e.Order, e.ProviderReference = person, &reference })
	r.letter(person, "odd")
	r.feed()
	r.look()
	b := r.browser("joao")
	for _, path := range []string{pathOf(r.Unit(person)), "/payments", "/dead", "/payments?q=" + r.Unit(person).Payment} {
		page := b.see(path)
		if strings.Contains(page, person) || strings.Contains(page, reference) || !strings.Contains(page, r.Unit(person).Payment) {
			t.Errorf("GET %s shows a person or no token:\n%s", path, page)
		}
	}
	holds(t, b.see("/payments?q="+url.QueryEscape(person)), "Found: 1", r.Unit(person).Payment)
	holds(t, b.see("/payments?q="+reference), "Found: 1")
}

func TestPaymentsAreSearchedAndListed(t *testing.T) {
	t.Parallel()
	r := start(t)
	reference := "ref-7"
	for i, p := range []string{"a", "b", "c"} {
		r.event(p, "", order.Pending, 1, func(e *order.Event) {
			if i == 1 {
				e.ProviderReference = &reference
			}
		})
	}
	r.event("c", order.Pending, order.Paid, 2)
	r.Notify(record.Notification{Payment: "unanswered", Order: "o-unanswered"})
	r.feed()
	b := r.browser("joao")
	for query, want := range map[string]string{"a": "default/a", "o-c": "default/c", "ref-7": "default/b", "unanswered": "default/unanswered", "o-unanswered": "default/unanswered"} {
		page := b.see("/payments?q=" + query)
		holds(t, page, "Found: 1", `href="/payments/sandbox/`+want+`"`)
	}
	holds(t, b.see("/payments?q=never"), "Found: 0", "arauto expect")
	list := b.see("/payments?status=pending&sort=oldest")
	if a, b := strings.Index(list, "default/a\""), strings.Index(list, "default/b\""); a < 0 || b < a || strings.Contains(list, "default/c\"") {
		t.Errorf("pending, the oldest first:\n%s", list)
	}
	holds(t, list, "R$ 24.68", "R$ 12.34")
}

func TestErasedPaymentLeavesTheIndexAndTheDeadLetters(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.event("gone", "", order.Paid, 1)
	r.event("kept", "", order.Paid, 1)
	r.letter("gone", "odd")
	r.feed()
	r.look()
	r.Publish(r.Tokens.Waiting("sandbox", "default", "gone").Forgotten(), record.Forgotten{At: time.Now().UTC()})
	r.feed()
	b := r.browser("joao")
	if list := b.see("/payments"); strings.Contains(list, "gone") || !strings.Contains(list, "kept") {
		t.Errorf("the list has it:\n%s", list)
	}
	if list := b.see("/dead"); strings.Contains(list, "gone") {
		t.Errorf("the dead letters have it:\n%s", list)
	}
	// What a worker had in hand is stored within the hour, and never listed.
	r.event("gone", order.Paid, order.Refunded, 2)
	r.feed()
	if list := b.see("/payments"); strings.Contains(list, "gone") {
		t.Errorf("the list has it again:\n%s", list)
	}
}

// The newest event may be erased, and no sequence after it comes for long.
func TestIndexRestsBehindARemovedEvent(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.event("kept", "", order.Paid, 1)
	r.Must(r.Stream(subject.Orders).DeleteMsg(r.Ctx, r.event("gone", "", order.Paid, 1)))
	for range 2 {
		more, err := r.site.follow.step(r.Ctx)
		r.Must(err)
		if more {
			t.Error("the index looks for an event that is not there")
		}
	}
}

// Records of FORGOTTEN expire, and a process that begins afterwards reads none.
func TestIndexStaysWhenTheRecordsOfErasuresHaveExpired(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.event("gone", "", order.Paid, 1)
	r.event("kept", "", order.Paid, 1)
	r.Publish(r.Tokens.Waiting("sandbox", "default", "gone").Forgotten(), record.Forgotten{At: time.Now().UTC()})
	r.feed()
	r.Must(r.Stream(subject.Forgotten).Purge(r.Ctx))
	r.site.follow = newFollower(r.site.follow.Options, &r.site.watch.letters)
	for range 3 {
		_, err := r.site.follow.step(r.Ctx)
		r.Must(err)
		if _, _, payments, err := r.site.follow.Index.Read(); err != nil || payments != 1 {
			t.Fatalf("the index has %d payments, %v", payments, err)
		}
	}
}

func TestIndexFollowsAStreamThatIsCreatedAgain(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.event("old", "", order.Paid, 1)
	r.event("old-2", "", order.Paid, 1)
	r.feed()
	r.Recreate(subject.Orders)
	r.event("new", "", order.Pending, 1)
	r.feed()
	if list := r.browser("joao").see("/payments"); strings.Contains(list, "default/old") || !strings.Contains(list, "default/new") {
		t.Errorf("the list is\n%s", list)
	}
}

func TestBrokerThatIsAwayIsSaid(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.event("p-1", "", order.Paid, 1)
	r.feed()
	r.look()
	b := r.browser("joao")
	r.Stop()
	r.site.watch.look(r.Ctx)
	holds(t, b.see("/"), "The broker cannot be read", "What a 200 means here", `<div class="red" role="alert"><strong>`)
	page := b.see("/providers")
	holds(t, page, "The broker cannot be read", "It could be asked when the broker was last read")
	lacks(t, page, "It may be asked")
	page = b.see("/dead")
	holds(t, page, "The broker cannot be read", "None among these messages")
	lacks(t, page, "nothing that was accepted is stuck")
	holds(t, b.see("/payments"), "default/p-1")
	if code, body, _ := b.send(http.MethodGet, "/payments/sandbox/default/p-1", nil); code != http.StatusServiceUnavailable || !strings.Contains(body, "The broker did not answer") || !strings.Contains(body, "s-paid") {
		t.Errorf("code %d:\n%s", code, body)
	}
	r.Restart()
	r.Until("the pages are there again", func() bool {
		code, _, _ := b.send(http.MethodGet, "/payments/sandbox/default/p-1", nil)
		r.site.watch.look(r.Ctx)
		return code == http.StatusOK && r.site.watch.last.Load().Err == nil
	})
	if page := b.see("/"); strings.Contains(page, "cannot be read") {
		t.Errorf("the page is\n%s", page)
	}
}

// Zeros of a broker that was never read are no figures.
func TestPagesShowNothingOfABrokerThatWasNeverRead(t *testing.T) {
	t.Parallel()
	r := start(t)
	began := r.site.watch.began
	r.site.Now = func() time.Time { return began.Add(time.Hour) }
	r.Stop()
	r.site.watch.look(r.Ctx)
	b := r.browser("maria")
	for _, path := range []string{"/", "/dead", "/providers", "/broker"} {
		page := b.see(path)
		holds(t, page, "was not read since the console began", `<time id="as-of" datetime="`+date(began)+`">`)
		lacks(t, page, "the last that was seen", "This page fills itself", `class="big"`, `class="green"`, "<table>", "<article>", "/act/")
	}
}

func TestEveryPageOfAnEmptyDeploymentSaysSo(t *testing.T) {
	t.Parallel()
	r := start(t)
	b := r.browser("joao")
	for _, path := range []string{"/", "/dead", "/broker", "/providers"} {
		holds(t, b.see(path), "The broker was not read yet")
	}
	r.look()
	r.feed()
	for path, text := range map[string]string{"/": "None: every provider may be asked", "/dead": "nothing that was accepted is stuck", "/payments": "No payment has an event", "/broker": "NOTIFICATIONS", "/providers": "sandbox/default"} {
		page := b.see(path)
		if holds(t, page, text); strings.Contains(page, "%!") {
			t.Errorf("GET %s has a value that its template cannot format:\n%s", path, page)
		}
	}
}

func TestPagesAreAsOldAsTheBeginningOfTheirReads(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.event("p-1", "", order.Paid, 1)
	began := time.Now()
	late := func() func() time.Time { // Each look at this clock takes a minute.
		now := began.Add(-time.Minute)
		return func() time.Time {
			now = now.Add(time.Minute)
			return now
		}
	}
	r.site.watch.Now, r.site.follow.Now = late(), late()
	r.look()
	if at := r.site.watch.last.Load().At; !at.Equal(began) {
		t.Errorf("what the broker said is %v younger than its reading", at.Sub(began))
	}
	if at := r.site.watch.letters.readAt; !at.Equal(began) {
		t.Errorf("the dead letters are %v younger than their reading", at.Sub(began))
	}
	_, err := r.site.follow.step(r.Ctx)
	r.Must(err)
	if at := r.site.follow.progress().At; !at.Equal(began) {
		t.Errorf("the list is %v younger than its reading", at.Sub(began))
	}
}

func TestPageWithoutALoginSaysHowToAct(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.event("p-1", "", order.Paid, 1)
	path := pathOf(r.Unit("p-1"))
	anonymous := func() string {
		shown := httptest.NewRecorder()
		r.site.handler().ServeHTTP(shown, httptest.NewRequestWithContext(r.Ctx, http.MethodGet, path, nil))
		return shown.Body.String()
	}
	link := `<a href="/login?next=` + strings.ToLower(url.QueryEscape(path)) + `">Log in to act</a>`
	holds(t, anonymous(), link)
	if strings.Contains(r.browser("maria").see(path), "Log in to act") {
		t.Error("a person who has logged in is sent to the log-in")
	}
	r.site.Acts = nil
	if strings.Contains(anonymous(), "Log in to act") {
		t.Error("a console that never acts sends to the log-in for it")
	}
}
