package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/commit/committest"
	"arauto/deploy/runtime/testbench"
	"arauto/gateway/publish"
	"arauto/gateway/webhook"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// refused posts a webhook of each provider and expects a 503 of the class. It returns how
// long the fastest answer took.
func (g *gateway) refused(class string) time.Duration {
	g.t.Helper()
	fastest := time.Hour
	for _, c := range callers(g.t) {
		before := g.metric("arauto_publish_failures_total", class)
		begun := time.Now()
		r := g.post(c.about("default", c.secret("default"), "p"))
		if got := r.code(g.t); got != 503100 || r.header.Get("retry-after") != "5" {
			g.t.Errorf("%s: code %d, retry after %q", c.name, got, r.header.Get("retry-after"))
		}
		fastest = min(fastest, time.Since(begun))
		if got := g.metric("arauto_publish_failures_total", class); got != before+1 {
			g.t.Errorf("%s: %v failures of class %s, want %v", c.name, got, class, before+1)
		}
	}
	return fastest
}

// atOnce is less than the pause between two attempts of the NATS client to connect.
const atOnce = 200 * time.Millisecond

func (g *gateway) accepted(payment string) {
	g.t.Helper()
	c := callers(g.t)[0]
	if got := g.post(c.about("default", c.secret("default"), payment)).code(g.t); got != 200 {
		g.t.Errorf("code %d", got)
	}
}

func TestDisconnectedBrokerIsUnavailableAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	g.accepted("before")
	g.broker.Stop()
	// Wait until the NATS client has noticed the disconnect.
	testbench.Until(t, "webhooks are refused", func() bool { return g.sandbox("down") == 503100 })
	if took := g.refused("disconnected"); took > atOnce {
		t.Errorf("the fastest answer took %s", took)
	}
	g.broker.Restart()
	testbench.Until(t, "webhooks are accepted again", func() bool { return g.sandbox("after") == 200 })
	if n := document(t, g.stored()[0]); n.Payment != "before" {
		t.Errorf("the first stored notification is about %q", n.Payment)
	}
}

// sandbox posts a webhook of the sandbox and returns its code.
func (g *gateway) sandbox(payment string) int {
	g.t.Helper()
	c := callers(g.t)[0]
	return g.post(c.about("default", c.secret("default"), payment)).code(g.t)
}

func TestFullStreamIsUnavailable(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	ctx := testbench.Context(t)
	stream, err := g.broker.JS.Stream(ctx, subject.Notifications)
	testbench.Must(t, err)
	g.accepted("first")
	config := stream.CachedInfo().Config
	config.MaxMsgs = 1
	if _, err := g.broker.JS.UpdateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	g.refused("full")
	config.MaxMsgs, config.MaxBytes = -1, 400
	if _, err := g.broker.JS.UpdateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	g.refused("full")
	if all := g.stored(); len(all) != 1 || document(t, all[0]).Payment != "first" {
		t.Errorf("%d notifications are stored, want the first only", len(all))
	}
}

func TestMissingStreamIsUnavailable(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	testbench.Must(t, g.broker.JS.DeleteStream(testbench.Context(t), subject.Notifications))
	if took := g.refused("missing"); took > atOnce {
		t.Errorf("the fastest answer took %s", took)
	}
}

func TestOtherStreamOnTheSubjectIsUnavailable(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	ctx := testbench.Context(t)
	stream, err := g.broker.JS.Stream(ctx, subject.Notifications)
	testbench.Must(t, err)
	config := stream.CachedInfo().Config
	testbench.Must(t, g.broker.JS.DeleteStream(ctx, subject.Notifications))
	config.Name = "IMPOSTOR"
	other, err := g.broker.JS.CreateStream(ctx, config)
	testbench.Must(t, err)
	g.refused("missing")
	if info, err := other.Info(ctx); err != nil || info.State.Msgs != 0 {
		t.Errorf("the other stream has %+v, %v", info, err)
	}
}

func TestNoAckInTimeIsUnavailable(t *testing.T) {
	t.Parallel()
	broker := testbench.Start(t, providers.All.Names()...)
	wire := committest.NewWire(t, broker.URL)
	nc, _ := testbench.Connect(t, wire.URL)
	g := startOn(t, broker, func(o *webhook.Options) {
		o.Publisher = publisher(t, nc, 100*time.Millisecond)
	})
	testbench.Until(t, "a webhook is accepted", func() bool { return g.sandbox("before") == 200 })
	release := wire.Hold(t) // No ack is received from here on.
	g.refused("timeout")
	// The context's deadline counts as well as the publish timeout.
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	slow := publisher(t, nc, time.Hour)
	if err := slow.Store(ctx, publish.Message{Subject: "notifications.sandbox.default.p", ID: "late"}); !errors.Is(err, commit.ErrTimeout) {
		t.Errorf("store with a short context: %v", err)
	}
	release()
	testbench.Until(t, "webhooks are accepted again", func() bool { return g.sandbox("after") == 200 })
}

// oversized stores every message with a body over the broker's limit. Real notifications
// are far below it, because ids are limited.
type oversized struct{ publish.Publisher }

func (s oversized) Store(ctx context.Context, m publish.Message) error {
	m.Body = make([]byte, 2<<20)
	return s.Publisher.Store(ctx, m)
}

func TestTooLargeForTheBrokerIsRefused(t *testing.T) {
	t.Parallel()
	broker := testbench.Start(t, providers.All.Names()...)
	g := startOn(t, broker, func(o *webhook.Options) {
		o.Publisher = oversized{publisher(t, broker.Connect(), 5*time.Second)}
	})
	if got := g.sandbox("p"); got != 413100 {
		t.Errorf("code %d", got)
	}
	if got := len(g.stored()); got != 0 {
		t.Errorf("%d messages are stored", got)
	}
}

func TestEvery200IsStored(t *testing.T) {
	t.Parallel()
	broker := testbench.Start(t, providers.All.Names()...)
	g := startOn(t, broker, func(o *webhook.Options) { o.Publisher = publisher(t, broker.Connect(), 800*time.Millisecond) })
	var mu sync.Mutex
	acknowledged, sheds := map[string]bool{}, 0
	var clients sync.WaitGroup
	list := callers(t)
	restart := make(chan struct{})
	for worker := range 8 {
		clients.Go(func() {
			for i := range 150 {
				c := list[(worker+i)%len(list)]
				id := fmt.Sprintf("w%d-%d", worker, i)
				code := g.post(c.about("acme", c.second("acme"), id)).code(t)
				mu.Lock()
				switch code {
				case 200:
					acknowledged[id] = true
				case 503100:
					sheds++
				default:
					t.Errorf("%s: code %d", c.name, code)
				}
				mu.Unlock()
				if worker == 0 && i == 50 {
					close(restart)
				}
			}
		})
	}
	<-restart
	g.broker.Stop()
	g.broker.Restart()
	clients.Wait()
	stored := map[string]bool{}
	for _, m := range g.stored() {
		stored[document(t, m).Payment] = true
	}
	for id := range acknowledged {
		if !stored[id] {
			t.Errorf("%s was answered 200 and is not stored", id)
		}
	}
	if len(acknowledged) == 0 || len(acknowledged)+sheds != 8*150 {
		t.Errorf("%d accepted and %d refused of %d", len(acknowledged), sheds, 8*150)
	}
}

func TestConcurrentWebhooksAreNotMixed(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	var clients sync.WaitGroup
	list := callers(t)
	for worker := range 16 {
		clients.Go(func() {
			for i := range 25 {
				c := list[(worker+i)%len(list)]
				id := fmt.Sprintf("%s-%d-%d", strings.Repeat(string(rune('a'+worker)), 5+i), worker, i)
				target, headers, body := c.about("default", c.secret("default"), id)
				if got := g.post(target, with(headers, "event-type", id), body).code(t); got != http.StatusOK {
					t.Errorf("%s: code %d", c.name, got)
				}
			}
		})
	}
	clients.Wait()
	all := g.stored()
	if len(all) != 16*25 {
		t.Errorf("%d are stored", len(all))
	}
	seen := map[string]bool{}
	for _, m := range all {
		n := document(t, m)
		// The id is in the body and in a header. A buffer that is reused too early would
		// make them differ.
		if id := n.Headers["event-type"]; seen[id] || n.Payment != id || !strings.HasSuffix(m.Subject, "."+id) {
			t.Errorf("subject %s has %+v", m.Subject, n)
		}
		seen[n.Payment] = true
	}
}

// A webhook is shed before its body is parsed, and after it was authenticated.
func TestOverloadShedsBeforeParsing(t *testing.T) {
	t.Parallel()
	var overloaded atomic.Bool
	g := start(t, func(o *webhook.Options) { o.Overloaded = overloaded.Load })
	g.accepted("before")
	overloaded.Store(true)
	g.refused("overloaded")
	c := callers(t)[0]
	for body, secret := range map[string]string{"{": c.secret("default"), c.body("p"): "no secret of ours"} {
		got, want := g.post(c.sending("default", secret, body)).code(t), 503100
		if secret != c.secret("default") {
			want = 400105
		}
		if got != want {
			t.Errorf("body %q: code %d, want %d", body, got, want)
		}
	}
	overloaded.Store(false)
	g.accepted("after")
	if got := len(g.stored()); got != 2 {
		t.Errorf("%d are stored, want 2", got)
	}
}
