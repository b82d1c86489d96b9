package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"arauto/deploy/tools/local/supervise"
	"arauto/schemas/order"
)

// odd is a provider whose answers and log-ins are such as others have reported them.
type odd struct {
	logIns atomic.Int64  // Good ones.
	denied atomic.Int64  // How many log-ins it still refuses.
	dead   atomic.Bool   // Whether the first token is refused.
	down   atomic.Bool   // Whether look-ups of the sandbox get a page instead of an answer.
	paged  chan struct{} // One for each that did.
}

// odds are what it answers about a payment of PicPay, by its id.
var odds = map[string]string{
	"mark":  "\xef\xbb\xbf" + `{"referenceId":"mark","status":"paid"}`,
	"bytes": "{\"referenceId\":\"bytes\",\"status\":\"paid\",\"note\":\"Jo\xe3o\"}",
	"list":  `{"referenceId":"list","status":"paid","summary":[]}`,
	"4711":  `{"referenceId":4711,"status":"PAID"}`,
}

func (o *odd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	say := func(status int, body string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // A worker that went away is asked for again.
	}
	switch id := path.Base(r.URL.Path); {
	case id == "token" && o.denied.Add(-1) >= 0:
		say(http.StatusBadRequest, `{"error":"invalid_client"}`)
	case id == "token":
		say(http.StatusOK, fmt.Sprintf(`{"access_token":"t%d","expires_in":"soon"}`, o.logIns.Add(1)))
	case strings.HasPrefix(r.URL.Path, "/picpay-checkout/charge/"):
		if o.dead.Load() && r.Header.Get("Authorization") == "Bearer t1" {
			say(http.StatusForbidden, "")
			return
		}
		say(http.StatusOK, `{"merchantChargeId":"`+id+`","chargeStatus":"PAID","amount":10000,"originalAmount":10000}`)
	case strings.HasPrefix(r.URL.Path, "/picpay/payments/"):
		say(http.StatusOK, odds[path.Base(path.Dir(r.URL.Path))])
	case o.down.Load():
		say(http.StatusOK, "<html><body>We will be back soon.</body></html>")
		select {
		case o.paged <- struct{}{}:
		default:
		}
	default:
		say(http.StatusOK, `{"payment":"`+id+`","order":"`+id+`","status":"paid","amount":10000}`)
	}
}

// TestAnswersThatOthersReportedAreRead has the real binaries ask a provider that is
// odd in the ways that others have reported.
func TestAnswersThatOthersReportedAreRead(t *testing.T) {
	t.Parallel()
	const payments = 40
	provider := &odd{paged: make(chan struct{}, payments)}
	server := httptest.NewServer(provider)
	t.Cleanup(server.Close)
	s := startWith(t, func(o *supervise.Options) {
		o.Roles = []string{supervise.Gateway, supervise.Lookup, supervise.Normalize, supervise.Sweep}
		o.Addresses.Simulator = strings.TrimPrefix(server.URL, "http://")
		o.Env = turnedBy("60")
	})
	for id := range odds {
		s.post("/v1/picpay/notifications", "application/json", picpaySecret, `{"referenceId":"`+id+`"}`)
	}
	for id := range odds {
		s.awaitStatuses("picpay/default/"+id, order.Paid)
	}

	checkout := map[string]string{"authorization": "a45c2dee-6435-1234-5678-b2a5f0ae7a8a"}
	charge := func(id string) {
		s.post("/v1/picpay-checkout/notifications", "application/json", checkout, `{"merchantChargeId":"`+id+`","status":"PAID","amount":10000}`)
	}
	provider.denied.Store(1)
	for i := range 20 {
		charge(fmt.Sprintf("c-%d", i))
	}
	for i := range 20 {
		s.awaitStatuses(fmt.Sprintf("picpay-checkout/default/c-%d", i), order.Paid)
	}
	provider.dead.Store(true)
	charge("after")
	s.awaitStatuses("picpay-checkout/default/after", order.Paid)
	if got := provider.logIns.Load(); got != 2 {
		t.Errorf("it was logged in to %d times, want twice: once at first, and once for the dead token", got)
	}

	provider.down.Store(true)
	for i := range payments {
		s.notify(fmt.Sprintf("s-%d", i))
	}
	for range payments / 2 {
		select {
		case <-provider.paged:
		case <-s.ctx.Done():
			t.Fatal("it is not asked")
		}
	}
	provider.down.Store(false)
	for i := range payments {
		s.awaitStatuses(fmt.Sprintf("sandbox/default/s-%d", i), order.Paid)
	}
	if out := s.arauto("dead", "list"); out != "no dead letters\n" {
		t.Errorf("in the end there are:\n%s", out)
	}
}
