package console

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

const nothingScheduled = "Nothing is scheduled"

// lacks wants texts not to be in a page.
func lacks(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(page, text) {
			t.Errorf("the page has %q:\n%s", text, page)
		}
	}
}

func TestPaymentSaysWhyItDoesNotMove(t *testing.T) {
	t.Parallel()
	r := start(t)
	const path = "/payments/sandbox/default/p-1"
	r.Notify(record.Notification{ID: "n-1", Payment: "p-1", Order: "o-1"})
	r.Notify(record.Notification{ID: "n-2", Payment: "p-2", Order: "o-2"})
	r.look()
	b := r.browser("joao")
	page := b.see(path)
	holds(t, page, "Webhook #1 is not looked up yet", `<a href="/broker">lookup-sandbox</a>: no worker`, `<a href="/broker">normalize</a>: no worker`)
	lacks(t, page, nothingScheduled, "has not confirmed", "operator holds")

	consumer, err := r.JS.Consumer(r.Ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
	r.Must(err)
	_, err = consumer.Next() // A worker that has it in hand.
	r.Must(err)
	r.look()
	page = b.see(path)
	holds(t, page, "2 webhooks are ready for look-ups of the provider")
	lacks(t, page, ">lookup-sandbox</a>")

	_, err = r.JS.PauseConsumer(r.Ctx, subject.Statuses, subject.NormalizeConsumer, time.Now().Add(time.Hour))
	r.Must(err)
	page = b.see(path) // The broker was not looked at since.
	holds(t, page, "An operator holds every worker until", "Webhook #1 is not looked up yet")
	r.look()
	lacks(t, b.see(path), ">normalize</a>: paused")
	_, err = r.JS.ResumeConsumer(r.Ctx, subject.Statuses, subject.NormalizeConsumer)
	r.Must(err)

	r.Publish(r.Unit("p-1").Status(), order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Order: "o-1", ProviderStatus: "odd", Confirmed: true, Covers: 1,
	})
	page = b.see(path)
	holds(t, page, nothingScheduled)
	lacks(t, page, "is not looked up yet", "operator holds")
}

// A payment may have more webhooks than one page can read.
func TestPaymentShowsItsNewestMessages(t *testing.T) {
	t.Parallel()
	r := start(t)
	for n := range storyNewest + 50 {
		r.Notify(record.Notification{ID: fmt.Sprintf("n-%d", n), Payment: "p-1", Order: "o-1"})
	}
	page := r.browser("joao").see("/payments/sandbox/default/p-1")
	holds(t, page, "at most 200 of each stream", "older ones in NOTIFICATIONS", "<small>n-249</small>", "Webhook #250 is not looked up yet", "<code>arauto order show --provider sandbox --account default p-1</code>")
	lacks(t, page, "<small>n-49</small>")
	if n := strings.Count(page, `class="notification"`); n > storyNewest || n < storyNewest/2 {
		t.Errorf("it has %d webhooks", n)
	}
}

func TestAddressMayHaveAPersonalID(t *testing.T) {
	t.Parallel()
	r := start(t)
	log, logged := observer.New(zap.WarnLevel)
	r.site.Log = zap.New(log)
	const person = "52998224725"
	r.event(person, "", order.Paid, 1)
	b := r.browser("joao")
	page := b.see("/payments/sandbox/default/" + person)
	holds(t, page, r.Unit(person).Payment, "where its token is")
	lacks(t, page, ">"+person)
	r.Stop()
	if code, _, _ := b.send(http.MethodGet, "/payments/sandbox/default/"+person, nil); code != http.StatusServiceUnavailable {
		t.Errorf("without a broker: %d", code)
	}
	all := logged.FilterMessage("page.unavailable").All()
	if len(all) != 1 || all[0].ContextMap()["route"] != "GET /payments/{provider}/{account}/{payment}" {
		t.Fatalf("the log has %+v", all)
	}
	if text := fmt.Sprint(all[0].ContextMap()); strings.Contains(text, person) {
		t.Errorf("the log names the person: %s", text)
	}
}
