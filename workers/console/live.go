package console

import (
	"fmt"
	"net/http"
	"time"

	"arauto/workers/console/access"
)

// Refreshes of a page, in seconds. Guesses: a glance does not notice more, and a payment takes
// a dozen reads.
const (
	fastEvery = 2
	slowEvery = 5
)

// maxPages is how many pages may be refreshed at a time, and readerPages how many of them one
// person may have, or without a log-in one address. A further page is refused with 503. Guesses.
const (
	maxPages    = 200
	readerPages = 20
)

// livePath is the path of the event streams.
const livePath = "/live"

// live tells a page when the broker was looked at: the page then reads its content again.
func (s *site) live(w http.ResponseWriter, r *http.Request) {
	flusher := http.NewResponseController(w)
	ticks, leave, ok := s.watch.join(access.Sender(r.Context()))
	if !ok {
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer leave()
	_ = flusher.SetReadDeadline(time.Time{}) // The server would end the request at it.
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	for {
		_ = flusher.SetWriteDeadline(time.Now().Add(writeTimeout)) // Of each tick; a writer that has none needs none.
		if flusher.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case n, open := <-ticks:
			if !open {
				return
			}
			_ = flusher.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := fmt.Fprintf(w, "event: tick\ndata: %d\n\n", n); err != nil {
				return
			}
		}
	}
}
