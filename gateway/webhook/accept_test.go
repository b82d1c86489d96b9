package webhook_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/gateway/webhook"
	"arauto/schemas/subject"
)

func TestGoodWebhookIsAnsweredOkAndStored(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 1, 2, 3, 4000000, time.FixedZone("-03:00", -3*60*60))
	g := start(t, func(o *webhook.Options) { o.Clock = func() time.Time { return at } })
	for _, c := range callers(t) {
		c.at = at
		for _, account := range []string{"default", "acme"} {
			for i, secret := range []string{c.secret(account), c.second(account)} {
				payment := fmt.Sprintf("p-%s-%d", account, i)
				target, headers, body := c.about(account, secret, payment)
				if !strings.Contains(target, "?") {
					target += "?utm=1"
				}
				r := g.post(target, headers, body)
				if got := r.code(t); got != http.StatusOK {
					t.Fatalf("%s %s secret %d: code %d", c.name, account, i, got)
				}
				checkStored(t, g.stored(), c.name, account, payment, at)
			}
		}
	}
	if got := len(g.stored()); got != len(callers(t))*4 {
		t.Errorf("%d notifications are stored", got)
	}
}

// checkStored checks the last stored message.
func checkStored(t *testing.T, all []*jetstream.RawStreamMsg, name, account, payment string, at time.Time) {
	t.Helper()
	if len(all) == 0 {
		t.Fatal("nothing is stored")
	}
	m := all[len(all)-1]
	if want := "notifications." + name + "." + account + "." + payment; m.Subject != want {
		t.Errorf("subject %q, want %q", m.Subject, want)
	}
	n := document(t, m)
	id, err := uuid.Parse(n.ID)
	if err != nil || id.Version() != 7 || m.Header.Get("Nats-Msg-Id") != n.ID {
		t.Errorf("id %q with message id %q is not one UUIDv7", n.ID, m.Header.Get("Nats-Msg-Id"))
	}
	if n.Provider != name || n.Account != account || n.Payment != payment || n.Kind == "" || !n.ReceivedAt.Equal(at) {
		t.Errorf("stored %+v", n)
	}
	if _, offset := n.ReceivedAt.Zone(); offset != 0 {
		t.Errorf("received at %s is not UTC", n.ReceivedAt)
	}
	if !validTrace.MatchString(n.Trace) {
		t.Errorf("stored trace %q", n.Trace)
	}
	for _, secret := range []string{"secret", "authorization", "seller_token"} {
		if strings.Contains(strings.ToLower(string(m.Data)), secret) {
			t.Errorf("the stored document has %q: %s", secret, m.Data)
		}
	}
}

var validTrace = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`)

func TestPathWithoutAccountMeansDefault(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, c := range callers(t) {
		if c.header == "" {
			continue
		}
		target, headers, body := c.about("default", c.secret("default"), "short")
		r := g.post(strings.Replace(target, "/default", "", 1), headers, body)
		if got := r.code(t); got != http.StatusOK {
			t.Errorf("%s: code %d", c.name, got)
			continue
		}
		all := g.stored()
		checkStored(t, all, c.name, "default", "short", document(t, all[len(all)-1]).ReceivedAt)
	}
}

func TestAnyIDIsOneSubjectToken(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	ids := []string{
		"a.b.c", "a b", "*", ">", "a.>", "line\nbreak", "\t", "...", "~", "%2E", "a/b", `quo"te\`, "<&>",
		"ação-🙂", strings.Repeat("x", 256), strings.Repeat("é", 128), "\u2028", "$JS.API.STREAM.DELETE.ORDERS",
		"buyer@example.com", "529.982.247-25", "pedido 529.982.247-25/1", "pedido52998224725", "p-1",
	}
	var last uint64
	for _, c := range callers(t) {
		for _, id := range ids {
			r := g.post(c.about("default", c.secret("default"), c.write(id)))
			if got, want := r.code(t), c.expected(id); got != want {
				t.Errorf("%s %.20q: code %d, want %d", c.name, id, got, want)
				continue
			} else if want != http.StatusOK {
				continue
			}
			all, now := g.storedAfter(last)
			if last = now; len(all) != 1 {
				t.Fatalf("%s %.20q: %d are stored, want 1", c.name, id, len(all))
			}
			checkToken(t, all[0], c.name, id)
		}
	}
}

// expected returns the code for a webhook with an id of at most 256 bytes: providers whose
// documents give ids a form refuse others, which the tests of their adapters are about.
func (c caller) expected(id string) int {
	if _, err := c.p.Read(c.sample(c.write(id))); err != nil {
		return 400103
	}
	return http.StatusOK
}

// write escapes an id for the caller's body.
func (c caller) write(id string) string {
	if c.query {
		return id
	}
	if c.form {
		return url.QueryEscape(id)
	}
	return strings.NewReplacer("\\", `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(id)
}

func checkToken(t *testing.T, m *jetstream.RawStreamMsg, name, id string) {
	t.Helper()
	tokens := strings.Split(m.Subject, ".")
	if len(tokens) != 4 || strings.Join(tokens[:3], ".") != "notifications."+name+".default" {
		t.Errorf("%.20q escaped to subject %q", id, m.Subject)
		return
	}
	if len(tokens[3]) > subject.MaxToken || strings.Trim(tokens[3], plain) != "" {
		t.Errorf("%.20q has the subject token %q", id, tokens[3])
	}
	if personal := strings.ContainsAny(id, "@") || strings.Contains(id, "529"); personal && tokens[3][0] != '~' {
		t.Errorf("the personal id %q stands in subject %q", id, m.Subject)
	}
	if got := document(t, m).Payment; got != id {
		t.Errorf("stored id %.40q, want %.40q", got, id)
	}
}

const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-%~"

func TestInboundTraceIsKeptOnlyWhenItIsValid(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	c := callers(t)[0]
	valid := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	for _, trace := range []string{
		valid, "", "garbage", strings.ToUpper(valid), "01" + valid[2:], valid + "-x",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
	} {
		target, headers, body := c.about("default", c.secret("default"), "p")
		headers["traceparent"] = trace
		if got := g.post(target, headers, body).code(t); got != http.StatusOK {
			t.Fatalf("code %d", got)
		}
		all := g.stored()
		got := document(t, all[len(all)-1]).Trace
		if trace == valid && got != valid {
			t.Errorf("valid trace became %q", got)
		}
		if trace != valid && (got == trace || !validTrace.MatchString(got)) {
			t.Errorf("trace %q became %q", trace, got)
		}
	}
}

func TestTwoTracesAreNotKept(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	trace := "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n"
	if got := g.raw(request("p", trace+trace)).code(t); got != http.StatusOK {
		t.Fatalf("code %d", got)
	}
	m := g.stored()[0]
	if strings.Contains(string(m.Data), "0af7651916cd43dd") {
		t.Errorf("one of two traces was kept: %s", m.Data)
	}
}

func TestOnlyListedHeadersAreStored(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, c := range callers(t) {
		target, headers, body := c.about("default", c.secret("default"), "p")
		for name, value := range map[string]string{
			"Nats-Rollup": "all", "Nats-Msg-Id": "mine", "Nats-Expected-Stream": "ORDERS", "ce-type": "forged",
			"user-agent": "axios/1.4.0", "cookie": "canary", "event-type": "TransactionUpdateMessage",
		} {
			headers[name] = value
		}
		if got := g.post(target, headers, body).code(t); got != http.StatusOK {
			t.Fatalf("%s: code %d", c.name, got)
		}
		all := g.stored()
		m := all[len(all)-1]
		for name, values := range m.Header {
			switch name {
			case "Nats-Msg-Id", "Nats-Expected-Stream":
			default:
				t.Errorf("%s: header %s %v reached the broker", c.name, name, values)
			}
		}
		n := document(t, m)
		if len(n.Headers) != 2 || n.Headers["event-type"] != "TransactionUpdateMessage" || n.Headers["content-type"] == "" {
			t.Errorf("%s: stored headers %v", c.name, n.Headers)
		}
		if m.Header.Get("Nats-Msg-Id") != n.ID || m.Header.Get("Nats-Expected-Stream") != subject.Notifications {
			t.Errorf("%s: broker headers %v", c.name, m.Header)
		}
	}
}

func TestEventTypeWithUnderscoreReachesTheAdapter(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, name := range []string{"event_type", "event-type", "Event_Type", "EVENT-TYPE"} {
		conn, r := g.dial()
		body := `{"data":{"chargeId":"c-1","merchantChargeId":"m-1","status":"Approved"}}`
		fmt.Fprintf(conn, "POST /v1/picpay-checkout/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s: Challenge3dsUpdateMessage\r\nContent-Length: %d\r\n\r\n%s",
			caller{name: "picpay-checkout"}.secret("default"), name, len(body), body)
		if got := next(t, r).code(t); got != http.StatusOK {
			t.Fatalf("%s: code %d", name, got)
		}
		all := g.stored()
		if n := document(t, all[len(all)-1]); n.Kind != "authentication" || n.Payment != "3ds-c-1" ||
			n.Headers[strings.ToLower(name)] != "Challenge3dsUpdateMessage" {
			t.Errorf("%s: stored %+v", name, n)
		}
	}
}

// TestHeaderThatIsNoCodeIsAcceptedAndNotStored sends header values that provider.Code
// filters out.
func TestHeaderThatIsNoCodeIsAcceptedAndNotStored(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, c := range callers(t) {
		for _, value := range []string{"caf\xe9", "Maria Souza", "maria@example.com", "529.982.247-25", "x-52998224725", strings.Repeat("x", 201), "<b>"} {
			target, headers, body := c.about("default", c.secret("default"), "p")
			kind := headers["content-type"]
			headers["event-type"], headers["event_type"], headers["content-type"] = value, value, kind+"; boundary="+value
			r := g.post(target, headers, body)
			if got := r.code(t); got != http.StatusOK {
				t.Errorf("%s: code %d", c.name, got)
				continue
			}
			all := g.stored()
			if got := document(t, all[len(all)-1]).Headers; len(got) != 1 || got["content-type"] != kind {
				t.Errorf("%s: %.40q is stored as %q", c.name, value, got)
			}
		}
	}
}
