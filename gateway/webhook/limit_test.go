package webhook_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/gateway/webhook"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// A forged webhook with an id of 32 KiB took 393 KB of NOTIFICATIONS.
func TestIDOver256BytesIsInvalidAndNotStored(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, c := range callers(t) {
		secret := c.secret("default")
		for _, id := range []string{strings.Repeat("x", 257), strings.Repeat("x", 32<<10), strings.Repeat("é", 129), strings.Repeat("529.982.247-25 ", 3000)} {
			if c.query && len(id) > 1000 {
				continue // An address so long is refused as a header.
			}
			bodies := []string{c.body(c.write(id))}
			switch c.name { // Providers with further ids in the body.
			case "sandbox":
				bodies = append(bodies, `{"payment":"p","order":"`+id+`"}`)
			case "beeteller":
				bodies = append(bodies, `{"order":"p","reference":"`+id+`","status":"PAID"}`)
			case "yapay":
				bodies = append(bodies, "token_transaction=p&transaction[order_number]="+id)
			}
			for _, body := range bodies {
				target, headers, sent := c.sending("default", secret, body)
				if c.query {
					target, headers, sent = c.about("default", secret, id)
				}
				if got := g.post(target, headers, sent).code(t); got != 400103 {
					t.Errorf("%s: an id of %d bytes gives code %d", c.name, len(id), got)
				}
			}
		}
	}
	if n := len(g.stored()); n != 0 {
		t.Errorf("%d notifications are stored", n)
	}
}

// largest returns the body of the largest notification: ids of the greatest length, of
// bytes that JSON encodes as six each. Each i has ids of its own.
func largest(i int) string {
	id := func(kind int) string {
		return fmt.Sprintf("%d.%d.%s", kind, i, strings.Repeat(`\u0001`, subject.MaxID))
	}
	cut := func(s string) string { // To MaxID bytes as they are read.
		plain := strings.Index(s, `\u`)
		return s[:plain+6*(subject.MaxID-plain)]
	}
	return fmt.Sprintf(`{"order":"%s","reference":"%s","status":"%s","rejection_reason":"%s"}`,
		cut(id(1)), cut(id(2)), strings.Repeat("S", 64), strings.Repeat("r", 200))
}

func TestLargestNotificationFitsTheSmallestLimit(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) {
		o.Limits = map[string]map[string]webhook.Limit{"beeteller": {"default": {Bytes: webhook.MinLimitBytes}}}
	})
	c := caller{name: "beeteller"}
	headers := with(c.headers(""), "event-type", strings.Repeat("e", 200))
	if got := g.post(c.path("default", c.secret("default")), headers, largest(0)).code(t); got != http.StatusOK {
		t.Fatalf("code %d", got)
	}
	if size := len(g.stored()[0].Data); size > webhook.MinLimitBytes/8 {
		t.Errorf("the largest notification has %d bytes", size)
	}
}

// One such burst filled a store of 256 MB before ids were limited.
func TestFiveBurstsOfTheLargestIDsFit(t *testing.T) {
	t.Parallel()
	const store, burst = 256 << 20, 563
	broker := testbench.StartEmpty(t, func(o *server.Options) { o.JetStreamMaxStore = store })
	if _, err := topology.Apply(testbench.Context(t), broker.JS, topology.Settings{Replicas: 1, Store: store, Providers: providers.All.Names()}); err != nil {
		t.Fatal(err)
	}
	g := startOn(t, broker, nil)
	forged := caller{name: "beeteller"}
	for i := range 5 {
		var group sync.WaitGroup
		for from := range 8 {
			group.Go(func() {
				for j := from; j < burst; j += 8 {
					path, headers, body := forged.path("default", forged.secret("default")), forged.headers(""), largest(i*burst+j)
					status := g.try(path, headers, body)
					for status == http.StatusServiceUnavailable { // Shed on a busy machine.
						status = g.try(path, headers, body)
					}
					if status != http.StatusOK {
						t.Errorf("burst %d: answer %d", i, status)
					}
				}
			})
		}
		group.Wait()
	}
	honest := callers(t)[0]
	if got := g.post(honest.about("acme", honest.secret("acme"), "p")).code(t); got != http.StatusOK {
		t.Errorf("another account's webhook gets code %d", got)
	}
	stream, err := broker.JS.Stream(testbench.Context(t), subject.Notifications)
	testbench.Must(t, err)
	info := stream.CachedInfo()
	if info.State.Msgs < 5*burst+1 || info.State.Bytes > uint64(info.Config.MaxBytes)/2 {
		t.Errorf("%d notifications fill %d of %d bytes", info.State.Msgs, info.State.Bytes, info.Config.MaxBytes)
	}
}

// try posts from any goroutine and returns the status.
func (g *gateway) try(path string, headers map[string]string, body string) int {
	r, err := http.NewRequest(http.MethodPost, "http://"+g.addr+path, strings.NewReader(body))
	if err != nil {
		g.t.Errorf("make request: %v", err)
		return 0
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	answer, err := g.client.Do(r)
	if err != nil {
		g.t.Errorf("post: %v", err)
		return 0
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		g.t.Errorf("read answer: %v", err)
	}
	return answer.StatusCode
}

func TestRateLimitHoldsOneAccountOnly(t *testing.T) {
	t.Parallel()
	now := testbench.NewClock(time.Unix(1_790_000_000, 0))
	g := start(t, func(o *webhook.Options) {
		o.Clock, o.RetryAfter = now.Now, 7*time.Second
		o.Limits = map[string]map[string]webhook.Limit{}
		for _, name := range providers.All.Names() {
			o.Limits[name] = map[string]webhook.Limit{"default": {Rate: 2, Burst: 3}}
		}
	})
	for _, c := range callers(t) {
		c.at = now.Now()
		secret := c.secret("default")
		post := func(account, body string) reply { return g.post(c.sending(account, c.secret(account), body)) }
		// Webhooks without the credential do not count.
		for range 10 {
			if got := g.post(c.about("default", "wrong", "p")).code(t); got == http.StatusOK || got == 503100 {
				t.Fatalf("%s: without the credential: code %d", c.name, got)
			}
		}
		for i := range 3 {
			if got := post("default", c.body("p")).code(t); got != http.StatusOK {
				t.Errorf("%s: webhook %d of the burst gets code %d", c.name, i, got)
			}
		}
		for _, body := range []string{c.body("p"), "nonsense"} { // Without parsing the body.
			if r := post("default", body); r.code(t) != 503100 || r.header.Get("retry-after") != "7" {
				t.Errorf("%s: over the rate: %d %v", c.name, r.status, r.header)
			}
		}
		for range 10 {
			if got := post("acme", c.body("p")).code(t); got != http.StatusOK {
				t.Errorf("%s: the other account gets code %d", c.name, got)
			}
		}
		now.Advance(time.Second)
		for i, want := range []int{http.StatusOK, http.StatusOK, 503100} {
			if got := g.post(c.about("default", secret, "p")).code(t); got != want {
				t.Errorf("%s: webhook %d a second later gets code %d, want %d", c.name, i, got, want)
			}
		}
	}
	n := float64(len(callers(t)))
	if got := g.metric("arauto_publish_failures_total", "limited"); got != 3*n {
		t.Errorf("%v are counted as limited, want %v", got, 3*n)
	}
	if got := g.logs.FilterMessage("webhook.limited").Len(); got != int(n) {
		t.Errorf("%d warnings, want one for each account", got)
	}
	if got := len(g.stored()); got != 15*int(n) {
		t.Errorf("%d notifications are stored", got)
	}
}

func TestByteLimitHoldsOneAccountOnly(t *testing.T) {
	t.Parallel()
	now := testbench.NewClock(time.Unix(3600, 0))
	g := start(t, func(o *webhook.Options) {
		o.Clock = now.Now
		o.Limits = map[string]map[string]webhook.Limit{"beeteller": {"default": {Bytes: webhook.MinLimitBytes}}}
	})
	c := caller{name: "beeteller"}
	fill := func(account string) (fits int) {
		for i := range 40 {
			r := g.post(c.path(account, c.secret(account)), c.headers(""), largest(i))
			switch got := r.code(t); got {
			case http.StatusOK:
				fits++
			case 503100:
				return fits
			default:
				t.Fatalf("code %d", got)
			}
		}
		return fits
	}
	fits := fill("default")
	var stored int
	for _, m := range g.stored() {
		stored += len(m.Data)
	}
	if fits == 0 || stored > webhook.MinLimitBytes || stored < webhook.MinLimitBytes*3/4 {
		t.Errorf("%d notifications with %d bytes are stored", fits, stored)
	}
	if got := fill("acme"); got != 40 {
		t.Errorf("%d of the other account are stored", got)
	}
	now.Advance(time.Minute)
	if got := fill("default"); got < fits-1 || got > fits+1 {
		t.Errorf("%d are stored a minute later, %d before", got, fits)
	}
}

func TestImpossibleLimitIsRefused(t *testing.T) {
	t.Parallel()
	for _, l := range []webhook.Limit{{Rate: -1}, {Burst: -1}, {Bytes: -1}, {Bytes: webhook.MinLimitBytes - 1}} {
		o := options(t, providers.All)
		o.Publisher = &checkingPublisher{}
		o.Limits = map[string]map[string]webhook.Limit{"picpay": {"default": l}}
		if _, err := webhook.New(o); err == nil || !strings.Contains(err.Error(), "default of picpay") {
			t.Errorf("%+v gives %v", l, err)
		}
	}
}
