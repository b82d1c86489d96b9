package console

import (
	"fmt"
	"strings"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/record"
)

// The index has payments with events, and the broker is searched only in part.
func TestSearchSaysWhatItDidNotSearch(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.feed()
	b := r.browser("joao")
	holds(t, b.see("/payments?q=o-old"), "Found: 0", "No stored payment has that order")
	r.Notify(record.Notification{Payment: "old", Order: "o-old"})
	for n := range searchNewest + 1 {
		r.Notify(record.Notification{ID: fmt.Sprintf("n-%d", n), Payment: fmt.Sprintf("p-%d", n), Order: fmt.Sprintf("o-%d", n)})
	}
	page := b.see("/payments?q=o-old")
	holds(t, page, "Found: 0", "only in the newest 500 messages of each stream", "<code>arauto order show o-old</code>", "says nothing of the rest")
	if strings.Contains(page, "No stored payment has that order") {
		t.Errorf("the page denies a stored payment:\n%s", page)
	}
	holds(t, b.see("/payments?q=o-500"), "Found: 1", "only in the newest 500 messages")
	holds(t, b.see("/payments?q=old"), "Found: 1") // Its own id is in a subject.
}

func TestSearchSaysThatItStopped(t *testing.T) {
	t.Parallel()
	r := start(t)
	for n := range maxFound + 1 {
		r.event(fmt.Sprintf("p-%d", n), "", order.Paid, 1, func(e *order.Event) { e.Order = "an order" })
	}
	r.feed()
	holds(t, r.browser("joao").see("/payments?q=an+order"), "Found: 100", "The search stopped at 100 payments", "<code>arauto order show &#39;an order&#39;</code>")
}
