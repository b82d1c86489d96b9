package console

import (
	"fmt"
	"net/http"
	"time"
)

// Refreshes of a page, in seconds. Guesses: a glance does not notice more, and a payment takes
// a dozen reads.
const (
	fastEvery = 2
	slowEvery = 5
)

// maxPages is how many pages may be refreshed at a time. One more is not, and says so.
const maxPages = 200

// live tells a page when the broker was looked at: the page then reads its content again.
func (s *site) live(w http.ResponseWriter, r *http.Request) {
	flusher := http.NewResponseController(w)
	ticks, leave, ok := s.watch.join()
	if !ok {
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer leave()
	_ = flusher.SetWriteDeadline(time.Time{}) // A writer that has none needs none.
	_ = flusher.SetReadDeadline(time.Time{})  // The server would end the request at it.
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	for {
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
			if _, err := fmt.Fprintf(w, "event: tick\ndata: %d\n\n", n); err != nil {
				return
			}
		}
	}
}
