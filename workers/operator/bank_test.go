package operator

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"sync"
	"testing"
)

// bank answers the sandbox's look-ups with a word per payment; without one it
// is broken.
type bank struct {
	url   string
	mu    sync.Mutex
	words map[string]string
	asked int
	held  int
	freed chan struct{}
}

func newBank(t *testing.T) *bank {
	t.Helper()
	b := &bank{words: map[string]string{}, freed: make(chan struct{})}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

// refusesUs is the word of a payment for which the bank refuses the credential.
const refusesUs = "refuses us"

// holdsUs is the word of a payment about which the bank does not answer before
// its release.
const holdsUs = "holds us"

func (b *bank) release() { close(b.freed) }

func (b *bank) holding() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held > 0
}

func (b *bank) say(payment, word string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.words[payment] = word
}

func (b *bank) times() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked
}

func (b *bank) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	b.mu.Lock()
	payment := path.Base(q.URL.Path)
	word := b.words[payment]
	b.asked++
	if word == holdsUs {
		b.held++
	}
	b.mu.Unlock()
	switch word {
	case "":
		w.WriteHeader(http.StatusInternalServerError)
		return
	case holdsUs:
		<-b.freed
		w.WriteHeader(http.StatusInternalServerError)
		return
	case refusesUs:
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, _ = fmt.Fprintf(w, `{"payment":%q,"order":%q,"status":%q,"amount":1000,"refunded":0}`, payment, "o-"+payment, word)
}
