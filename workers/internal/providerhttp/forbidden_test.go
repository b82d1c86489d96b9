package providerhttp_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/provider"
)

// forbidding is a token endpoint whose look-ups get a 403 for dead tokens, and for one
// payment whatever the token.
type forbidding struct {
	logins atomic.Int32
	dead   atomic.Int32 // Tokens up to this number are dead.
	closed atomic.Bool  // The token endpoint fails.
}

const alone = "alone"

func (g *forbidding) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	var n int32
	switch {
	case q.URL.Path == "/token" && g.closed.Load():
		w.WriteHeader(http.StatusBadGateway)
	case q.URL.Path == "/token":
		says(http.StatusOK, fmt.Sprintf(`{"access_token":"t%d","expires_in":86400}`, g.logins.Add(1)))(w, q)
	case q.URL.Path == "/charge/"+alone:
		w.WriteHeader(http.StatusForbidden)
	default:
		if _, err := fmt.Sscanf(bearer(q), "t%d", &n); err != nil || n <= g.dead.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		says(http.StatusOK, `{"merchantChargeId":"p","chargeStatus":"PAID","originalAmount":10000}`)(w, q)
	}
}

// asker looks up a Checkout payment.
func asker(t *testing.T, g *forbidding, now func() time.Time) func(payment string) (order.Fact, error) {
	t.Helper()
	p, base := named(t, "picpay-checkout"), serve(t, g.ServeHTTP).URL
	c := client(t, 10*time.Second, now)
	a := provider.Account{Name: "d", Settings: map[string]string{"base_url": base, "token_url": base + "/token", "client_id": "i", "client_secret": "s"}}
	return func(payment string) (order.Fact, error) {
		return c.Ask(t.Context(), p, a, provider.Target{Kind: order.Payment, Payment: payment})
	}
}

func (g *forbidding) counts(t *testing.T, when string, logins int32) {
	t.Helper()
	if n := g.logins.Load(); n != logins {
		t.Errorf("%s there were %d log-ins, want %d", when, n, logins)
	}
}

func TestDeadTokenIsRefusedWith403(t *testing.T) {
	t.Parallel()
	g := &forbidding{}
	g.dead.Store(1)
	if f, err := asker(t, g, time.Now)("p"); err != nil || f.Status != order.Paid {
		t.Errorf("have %q, %v", f.Status, err)
	}
	g.counts(t, "for a dead token", 2)
}

func TestConcurrent403sShareOneLogIn(t *testing.T) {
	t.Parallel()
	g := &forbidding{}
	lookUp := asker(t, g, time.Now)
	if _, err := lookUp("p"); err != nil {
		t.Fatal(err)
	}
	g.dead.Store(1)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := lookUp("p"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	g.counts(t, "for 50 look-ups", 2)
}

func TestPaymentRefusedAloneCausesFewLogIns(t *testing.T) {
	t.Parallel()
	g, c := &forbidding{}, testbench.NewClock(time.Unix(0, 0))
	c.Advance(time.Hour)
	lookUp := asker(t, g, c.Now)
	for range 100 {
		if _, err := lookUp(alone); !errors.Is(err, provider.ErrForeign) {
			t.Fatalf("error is %v", err)
		}
		if _, err := lookUp("p"); err != nil {
			t.Fatal(err)
		}
	}
	g.counts(t, "after 100 refusals", 2)
	c.Advance(2 * time.Minute)
	g.dead.Store(2) // The token may have ended by then.
	if _, err := lookUp("p"); err != nil {
		t.Errorf("a token that dies later gives %v", err)
	}
	g.counts(t, "after it died", 3)
}

func TestRefusedTokenStaysUntilReplaced(t *testing.T) {
	t.Parallel()
	g := &forbidding{}
	lookUp := asker(t, g, time.Now)
	if _, err := lookUp("p"); err != nil {
		t.Fatal(err)
	}
	g.closed.Store(true)
	if _, err := lookUp(alone); !errors.Is(err, provider.ErrUnavailable) {
		t.Errorf("a log-in that fails gives %v", err)
	}
	if _, err := lookUp("p"); err != nil {
		t.Errorf("the token that is good is gone: %v", err)
	}
}
