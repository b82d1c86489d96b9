package console

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/retry"
)

func TestRetryNowBringsTheLookUpForwardUnderThePersonsName(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.park("p-1")
	b := r.browser("maria")
	const path = "/act/retry?provider=sandbox&account=default&payment=p-1"
	holds(t, b.see(path), "1 look-up becomes due now", "3 attempts so far", "maria")
	if len(r.audits()) != 0 {
		t.Fatal("the confirmation page has changed something")
	}
	code, body, to := b.confirm(path, nil)
	if code != http.StatusSeeOther || to != "/payments/sandbox/default/p-1" {
		t.Fatalf("code %d to %q:\n%s", code, to, body)
	}
	all := r.audits()
	if len(all) != 1 || all[0].Verb != "retry_now" || all[0].Who != "maria" || all[0].Payment != "p-1" {
		t.Fatalf("AUDIT has %+v", all)
	}
	store, err := retry.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	r.Until("the look-up is due", func() bool {
		due, err := store.ReadDue(r.Ctx, "sandbox", "default", "p-1")
		r.Must(err)
		return due.Sequence > 0 && due.Parked.Attempts == 3
	})
	if code, body, _ := b.send(http.MethodGet, "/act/retry?provider=sandbox&account=default&payment=unknown", nil); code != http.StatusNotFound {
		t.Errorf("an unknown payment: %d\n%s", code, body)
	}
}

// A backup copies one stream after the other, so nothing may change in between.
func TestNothingIsChangedDuringAHold(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.park("p-1")
	_, err := r.JS.PauseConsumer(r.Ctx, subject.Statuses, subject.NormalizeConsumer, time.Now().Add(time.Hour))
	r.Must(err)
	code, body, _ := r.browser("maria").confirm("/act/retry?provider=sandbox&account=default&payment=p-1", nil)
	if code != http.StatusConflict || !strings.Contains(body, "during a hold") || len(r.audits()) != 0 {
		t.Errorf("code %d, AUDIT has %+v:\n%s", code, r.audits(), body)
	}
	r.letter("p-1", "odd")
	r.look()
	for verb, form := range map[string]url.Values{verbRedrive: nil, verbDiscard: {"reason": {"a test"}}} {
		code, body, _ := r.browser("maria").confirm("/act/"+verb+"?word=odd", form)
		if code != http.StatusConflict || !strings.Contains(body, "during a hold") || len(r.audits()) != 0 || r.site.jobs.last() != nil {
			t.Errorf("%s: code %d, AUDIT has %+v, the job is %+v:\n%s", verb, code, r.audits(), r.site.jobs.last(), body)
		}
	}
}

// A hold or a broker that is away ends a job, and its page says so.
func TestJobThatEndsEarlySaysWhy(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.run("job", r.site.jobs.run)
	r.letter("p-1", "odd")
	r.letter("p-2", "odd")
	r.look()
	ended := func() *job {
		t.Helper()
		if !r.site.jobs.start(&job{Verb: verbDiscard, Who: "maria", Reason: "a test", letters: r.site.watch.letters.newest}) {
			t.Fatal("the job is refused")
		}
		r.Until("the job has ended", func() bool { return !r.site.jobs.last().Runs() })
		return r.site.jobs.last()
	}
	b := r.browser("joao")
	_, err := r.JS.PauseConsumer(r.Ctx, subject.Statuses, subject.NormalizeConsumer, time.Now().Add(time.Hour))
	r.Must(err)
	if j := ended(); j.Left() != 2 || j.Failed != 0 {
		t.Errorf("under a hold the job is %+v", j)
	}
	holds(t, b.see("/dead"), "0 / 2 done, the rest stays open, because", "the deployment is held until")
	_, err = r.JS.ResumeConsumer(r.Ctx, subject.Statuses, subject.NormalizeConsumer)
	r.Must(err)
	r.Stop()
	if j := ended(); j.Left() != 2 {
		t.Errorf("without a broker the job is %+v", j)
	}
	holds(t, b.see("/dead"), "0 / 2 done, the rest stays open, because", "open stream NOTIFICATIONS")
}

// paused counts the consumers that are paused, those that are left of a provider without an
// account among them.
func (r *rig) paused() (paused, all int) {
	r.T.Helper()
	settings := r.site.Config().Topology()
	declared := slices.Concat(topology.Consumers(settings), topology.Leftovers(settings))
	if len(topology.Leftovers(settings)) == 0 {
		r.T.Fatal("every provider has an account")
	}
	for _, c := range declared {
		consumer, err := r.JS.Consumer(r.Ctx, c.Stream, c.Durable)
		r.Must(err)
		if consumer.CachedInfo().Paused {
			paused++
		}
	}
	return paused, len(declared)
}

func TestHoldAndResumeAreConfirmedAndAudited(t *testing.T) {
	t.Parallel()
	r := startOn(t, providers.All.Names()...)
	b := r.browser("maria")
	_, all := r.paused()
	holds(t, b.see("/act/hold"), fmt.Sprintf("%d consumers are paused", all), "Webhooks are stored", "maria", `<option value="1h0m0s">1 h 0 min</option>`)
	for what, form := range map[string]url.Values{
		"a reason with a person": {"for": {"1h0m0s"}, "reason": {"told by ana@example.com"}},
		"longer than is offered": {"for": {"100h0m0s"}},
		"no time":                {},
	} {
		if code, body, _ := b.confirm("/act/hold", form); code == http.StatusSeeOther {
			t.Errorf("%s: %d\n%s", what, code, body)
		}
	}
	if n, _ := r.paused(); n != 0 || len(r.audits()) != 0 {
		t.Fatalf("%d consumers are paused, AUDIT has %+v", n, r.audits())
	}
	if code, body, to := b.confirm("/act/hold", url.Values{"for": {"1h0m0s"}, "reason": {"the nightly copy"}}); code != http.StatusSeeOther || to != "/broker" {
		t.Fatalf("code %d to %q:\n%s", code, to, body)
	}
	if n, _ := r.paused(); n != all {
		t.Errorf("%d of %d consumers are paused", n, all)
	}
	got := r.audits()
	if len(got) != 1 || got[0].Verb != "hold" || got[0].Who != "maria" || !strings.HasSuffix(got[0].What, ": the nightly copy") {
		t.Fatalf("AUDIT has %+v", got)
	}
	r.look()
	holds(t, b.see("/broker"), "An operator holds every worker until", `href="/act/resume"`)
	if page := b.see("/act/hold"); strings.Contains(page, "<button>Hold") || !strings.Contains(page, "holds every worker until") {
		t.Errorf("a second hold is offered:\n%s", page)
	}
	for path, form := range map[string]url.Values{"/act/hold": {"for": {"15m0s"}}, "/act/resume": {"until": {"2026-01-01T00:00:00Z"}}} {
		if code, body, _ := b.confirm(path, form); code != http.StatusConflict || !strings.Contains(body, "another state of the hold") {
			t.Errorf("%s: %d\n%s", path, code, body)
		}
	}
	if n, _ := r.paused(); n != all || len(r.audits()) != 1 {
		t.Errorf("%d of %d consumers are paused, AUDIT has %+v", n, all, r.audits())
	}
	if code, body, to := b.confirm("/act/resume", nil); code != http.StatusSeeOther || to != "/broker" {
		t.Fatalf("code %d to %q:\n%s", code, to, body)
	}
	if n, _ := r.paused(); n != 0 {
		t.Errorf("%d consumers are paused", n)
	}
	if got := r.audits(); len(got) != 2 || got[1].Verb != "resume" || got[1].Who != "maria" {
		t.Errorf("AUDIT has %+v", got)
	}
	r.look()
	holds(t, b.see("/broker"), "Nothing is held", `href="/act/hold"`)
	if page := r.browser("joao").see("/broker"); strings.Contains(page, "/act/") {
		t.Errorf("a reader is offered a hold:\n%s", page)
	}
}

func TestHoldIsUndoneWhileAWorkerHasAMessage(t *testing.T) {
	t.Parallel()
	r := startOn(t, providers.All.Names()...)
	r.site.rest = 100 * time.Millisecond
	r.Notify(record.Notification{Payment: "p-1", Order: "o-1"})
	consumer, err := r.JS.Consumer(r.Ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
	r.Must(err)
	_, err = consumer.Next() // It is not acknowledged.
	r.Must(err)
	code, body, _ := r.browser("maria").confirm("/act/hold", url.Values{"for": {"15m0s"}})
	if code != http.StatusConflict || !strings.Contains(body, "Nothing is held:") || !strings.Contains(body, "1 messages of consumer lookup-sandbox") {
		t.Errorf("code %d:\n%s", code, body)
	}
	if n, _ := r.paused(); n != 0 {
		t.Errorf("%d consumers are paused", n)
	}
}

func TestActionNeedsTheRoleAndTheToken(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.park("p-1")
	form := url.Values{"provider": {"sandbox"}, "account": {"default"}, "payment": {"p-1"}}
	for _, verb := range []string{verbRetry, verbReplay, verbRedrive, verbDiscard, verbOpen, verbClose, verbCancel, verbHold, verbResume} {
		reader := r.browser("joao")
		if code, _, _ := reader.send(http.MethodGet, "/act/"+verb+"?"+form.Encode(), nil); code != http.StatusForbidden {
			t.Errorf("a reader opens %s: %d", verb, code)
		}
		own := maps.Clone(form)
		own.Set("csrf", hidden.FindStringSubmatch(reader.see("/"))[2]) // That of the form by which the reader logs out.
		if code, body, _ := reader.send(http.MethodPost, "/act/"+verb, own); code != http.StatusForbidden || !strings.Contains(body, "Your role") {
			t.Errorf("a reader does %s: %d\n%s", verb, code, body)
		}
		if code, _, _ := r.browser("maria").send(http.MethodPost, "/act/"+verb, form); code != http.StatusForbidden {
			t.Errorf("%s without a token: %d", verb, code)
		}
	}
	if all := r.audits(); len(all) != 0 {
		t.Errorf("AUDIT has %+v", all)
	}
}

func TestReplayMakesALookUpDue(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Notify(record.Notification{Payment: "p-1", Order: "o-1"})
	b := r.browser("maria")
	page := b.see("/act/replay?provider=sandbox&account=default&payment=p-1")
	holds(t, page, "1 look-up becomes due now", "Nothing is parked for this payment", "the console has no credentials",
		"<code>arauto replay --dry-run --provider sandbox --account default --payment=p-1</code>")
	r.park("p-2")
	r.Notify(record.Notification{Payment: "p-2", Order: "o-2"})
	holds(t, b.see("/act/replay?provider=sandbox&account=default&payment=p-2"), "It takes the place of the look-up that is parked until", "the provider being unavailable", "3 attempts so far")
	if code, body, to := b.confirm("/act/replay?provider=sandbox&account=default&payment=p-1", nil); code != http.StatusSeeOther || to != "/payments/sandbox/default/p-1" {
		t.Fatalf("code %d to %q:\n%s", code, to, body)
	}
	if all := r.audits(); len(all) != 1 || all[0].Verb != "replay" || all[0].Who != "maria" {
		t.Errorf("AUDIT has %+v", all)
	}
}

func TestDiscardNeedsAReasonAndTheNumberThatWasConfirmed(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.run("job", r.site.jobs.run)
	r.letter("p-1", "odd")
	r.letter("p-2", "odd")
	r.letter("p-3", "other")
	r.look()
	b := r.browser("maria")
	const path = "/act/discard?word=odd"
	holds(t, b.see(path), "2 dead letters of 2 payments are given up for good")
	for reason, want := range map[string]string{"": "needs a reason", "told by ana@example.com": "may name a person"} {
		if code, body, _ := b.confirm(path, url.Values{"reason": {reason}}); code != http.StatusConflict || !strings.Contains(body, want) {
			t.Errorf("reason %q: %d\n%s", reason, code, body)
		}
	}
	if code, body, _ := b.confirm(path, url.Values{"reason": {"a test"}, "letters": {"1"}}); code != http.StatusConflict || !strings.Contains(body, "have changed") {
		t.Errorf("another number: %d\n%s", code, body)
	}
	every := url.Values{"provider": {"*"}, "account": {"*"}, "payment": {"p-1"}}
	for _, field := range hidden.FindAllStringSubmatch(b.see(path), -1) {
		if field[1] == "csrf" {
			every.Set("csrf", field[2])
		}
	}
	if code, _, _ := b.send(http.MethodPost, "/act/retry", every); code != http.StatusNotFound {
		t.Errorf("a payment of every provider: %d", code)
	}
	if len(r.audits()) != 0 {
		t.Fatalf("AUDIT has %+v", r.audits())
	}
	if code, body, to := b.confirm(path, url.Values{"reason": {"a test"}}); code != http.StatusSeeOther || to != "/dead" {
		t.Fatalf("code %d to %q:\n%s", code, to, body)
	}
	r.Until("the job has ended", func() bool { j := r.site.jobs.last(); return !j.Ended.IsZero() && j.Done == 2 })
	for _, a := range r.audits() {
		if a.Verb != "discard" || a.Who != "maria" || a.What != "give up a dead letter: a test" {
			t.Errorf("AUDIT has %+v", a)
		}
	}
	r.look()
	holds(t, b.see("/dead"), "1 dead letters", "2 / 2", ">p-3</a>")
	holds(t, b.see("/dead?state=discarded"), "2 dead letters", "maria@")
}

// A page may be older than the job that it shows.
func TestStopNamesItsJobAndItsPerson(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.run("job", r.site.jobs.run)
	const all = 60 // Six seconds of work.
	for n := range all {
		r.letter(fmt.Sprintf("p-%d", n), "odd")
	}
	r.look()
	maria, ana := r.browser("maria"), r.browser("ana")
	if code, body, _ := maria.confirm("/act/discard?word=odd", url.Values{"reason": {"a test"}}); code != http.StatusSeeOther {
		t.Fatalf("code %d:\n%s", code, body)
	}
	page := ana.see("/dead")
	holds(t, page, "A stop leaves", "maria,")
	form := url.Values{}
	for _, field := range hidden.FindAllStringSubmatch(page, -1) {
		form.Set(field[1], field[2])
	}
	stops := func() (found []record.Audit) {
		for _, a := range r.audits() {
			if a.Verb == "job_stop" {
				found = append(found, a)
			}
		}
		return found
	}
	refused := func(what string, form url.Values) {
		t.Helper()
		before := len(stops())
		if code, body, _ := ana.send(http.MethodPost, "/act/cancel", form); code != http.StatusConflict || !strings.Contains(body, "does not run any more") || len(stops()) != before {
			t.Errorf("%s: code %d, %d stops on AUDIT:\n%s", what, code, len(stops()), body)
		}
	}
	refused("no job is named", url.Values{"csrf": form["csrf"]})
	refused("another job is named", url.Values{"csrf": form["csrf"], "job": {"a1b2"}})
	if code, body, to := ana.send(http.MethodPost, "/act/cancel", form); code != http.StatusSeeOther || to != "/dead" {
		t.Fatalf("code %d to %q:\n%s", code, to, body)
	}
	found := stops()
	if len(found) != 1 || found[0].Who != "ana" || !strings.Contains(found[0].What, "the job of maria, discard on 60 dead letters") {
		t.Fatalf("AUDIT has %+v", found)
	}
	r.Until("the job has ended", func() bool { return !r.site.jobs.last().Runs() })
	if j := r.site.jobs.last(); j.Left() == 0 || j.Stopped != "ana" {
		t.Errorf("the job is %+v", j)
	}
	holds(t, ana.see("/dead"), "stopped by ana")
	refused("the job has ended", form)
}

func TestRedriveAsksAgainAboutEachPayment(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.run("job", r.site.jobs.run)
	r.letter("p-1", "odd")
	r.look()
	b := r.browser("maria")
	if code, body, _ := b.confirm("/act/redrive?unit=sandbox.default.p-1", nil); code != http.StatusSeeOther {
		t.Fatalf("code %d:\n%s", code, body)
	}
	r.Until("the job has ended", func() bool { return !r.site.jobs.last().Ended.IsZero() })
	if j := r.site.jobs.last(); j.Done != 1 || j.Failed != 0 {
		t.Errorf("the job is %+v", j)
	}
	if all := r.audits(); len(all) != 1 || all[0].Verb != "redrive" || all[0].Letter != "STATUSES-1" {
		t.Errorf("AUDIT has %+v", all)
	}
}

func TestCircuitIsOpenedAndClosed(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.look()
	b := r.browser("maria")
	store, err := breaker.Open(r.Ctx, r.JS)
	r.Must(err)
	if code, body, to := b.confirm("/act/open?provider=sandbox&account=default", nil); code != http.StatusSeeOther || to != "/providers" {
		t.Fatalf("code %d to %q:\n%s", code, to, body)
	}
	list, err := store.List(r.Ctx)
	r.Must(err)
	if len(list) != 1 || list[0].State != record.CircuitOpen || !strings.HasPrefix(list[0].By, "maria@") {
		t.Errorf("circuits are %+v", list)
	}
	r.look()
	holds(t, b.see("/providers"), "/act/close?provider=sandbox&amp;account=default", "Circuit of the account")
	if code, body, _ := b.confirm("/act/close?provider=sandbox&account=default", nil); code != http.StatusSeeOther {
		t.Fatalf("code %d:\n%s", code, body)
	}
	if all := r.audits(); len(all) != 2 || all[0].Verb != "circuit_open" || all[1].Verb != "circuit_close" {
		t.Errorf("AUDIT has %+v", all)
	}
	if code, _, _ := b.send(http.MethodGet, "/act/open?provider=sandbox&account=none", nil); code != http.StatusNotFound {
		t.Errorf("an account that is not configured: %d", code)
	}
}

func TestCircuitsPageCountsWhatWaitsForTheAccount(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.look() // Nothing of what follows is in it.
	r.Notify(record.Notification{Payment: "p-1", Order: "o-1"})
	r.Notify(record.Notification{Account: "acme", Payment: "p-1", Order: "o-1"})
	r.park("p-2") // For another reason than a circuit.
	store, err := retry.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	for account, payment := range map[string]string{"default": "p-3", "acme": "p-4"} {
		r.Must(store.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
			Provider: "sandbox", Account: account, Kind: order.Payment, Payment: payment, Order: "o", Cause: order.CauseNotification,
			Reason: string(record.Stopped), DueAt: time.Now().Add(time.Hour).UTC(),
		}))
	}
	circuits, err := breaker.Open(r.Ctx, r.JS)
	r.Must(err)
	r.Must(circuits.OpenBy(r.Ctx, "sandbox", "default", "tester"))
	holds(t, r.browser("maria").see("/act/close?provider=sandbox&account=default"), "sandbox/default: open.",
		"Ready for the account are 1 webhooks and look-ups. Parked are 2 look-ups, of which 1 wait for a circuit.", "and the 1 that wait for a circuit are brought forward")
}

func TestOpenPagesAreRefreshedTogetherAndBounded(t *testing.T) {
	t.Parallel()
	r := start(t)
	ticks, leave, ok := r.site.watch.join("ana")
	if !ok {
		t.Fatal("the first page is refused")
	}
	defer leave()
	r.site.watch.tick()
	r.site.watch.tick() // A page that has not read the first one needs no second.
	select {
	case <-ticks:
	case <-time.After(time.Minute):
		t.Fatal("no tick")
	}
	for range readerPages {
		if _, _, ok := r.site.watch.join("joao"); !ok {
			t.Fatal("a page is refused below the limit of its reader")
		}
	}
	if code, _, _ := r.browser("joao").send(http.MethodGet, livePath, nil); code != http.StatusServiceUnavailable {
		t.Errorf("one page too many of a reader: %d", code)
	}
	for n := range maxPages - 1 - readerPages {
		if _, _, ok := r.site.watch.join(strconv.Itoa(n)); !ok {
			t.Fatal("a page of another reader is refused below the limit")
		}
	}
	if code, _, _ := r.browser("maria").send(http.MethodGet, livePath, nil); code != http.StatusServiceUnavailable {
		t.Errorf("one page too many: %d", code)
	}
}
