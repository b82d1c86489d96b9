package console

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// A hold is no outage of a provider.
func TestProvidersSayTheHold(t *testing.T) {
	t.Parallel()
	r := start(t)
	until := time.Now().Add(time.Hour)
	for stream, consumer := range map[string]string{subject.Statuses: subject.NormalizeConsumer, subject.Notifications: subject.LookupConsumer("sandbox")} {
		_, err := r.JS.PauseConsumer(r.Ctx, stream, consumer, until)
		r.Must(err)
	}
	r.look()
	page := r.browser("joao").see("/providers")
	holds(t, page, "An operator holds every worker until")
	lacks(t, page, "Paused: it answers no account", "It may be asked")
	_, err := r.JS.ResumeConsumer(r.Ctx, subject.Statuses, subject.NormalizeConsumer)
	r.Must(err)
	r.look()
	page = r.browser("joao").see("/providers")
	holds(t, page, "Paused: it answers no account")
	lacks(t, page, "operator holds")
}

func TestLatenciesAreThoseOfTheLastHour(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.look()
	id := uuid.Must(uuid.NewV7()).String()
	r.event("p-1", "", order.Paid, 1, func(e *order.Event) { e.Notification = &id })
	r.feed()
	b := r.browser("joao")
	holds(t, b.see("/"), "half within")
	r.site.follow.Now = func() time.Time { return time.Now().Add(3 * time.Hour) }
	page := b.see("/")
	holds(t, page, "no event in the last hour")
	lacks(t, page, "half within")
}

// What is English on a Portuguese page is read out as English.
func TestEnglishTextsHaveTheirLanguage(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.letter("p-1", "odd")
	r.Must(r.JS.DeleteConsumer(r.Ctx, subject.Statuses, subject.NormalizeConsumer))
	r.look()
	b := r.browser("joao")
	b.language = "pt-BR"
	holds(t, b.see("/"), `<span lang="en">no worker works on`, `<p lang="en">`)
	holds(t, b.see("/dead"), `<span lang="en">teach the adapter the word</span>`, `<span lang="en">a word that is not known</span>`)
	holds(t, b.see("/payments/sandbox/default/p-1"), `<span lang="en">teach the adapter the word</span>`)
	holds(t, b.see("/broker"), `<ul lang="en"><li>`)
}
