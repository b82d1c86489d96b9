package webhook_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/webhook"
)

// TestSlowBodiesOfOneAccountLeaveMemoryToTheOthers begins large bodies with one account's
// credential, more than BodyMemory holds, and sends none to its end.
func TestSlowBodiesOfOneAccountLeaveMemoryToTheOthers(t *testing.T) {
	t.Parallel()
	const memory, size, begun = 1 << 20, 60 << 10, 40
	const each = size + 1 - 8<<10 // What a body takes.
	for about, c := range map[string]struct {
		accounts []string
		holds    int // Bodies.
	}{
		"several accounts": {[]string{"default", "acme"}, memory / 4 / each},
		"the only account": {[]string{"default"}, memory / each},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			g := start(t, func(o *webhook.Options) {
				o.BodyMemory, o.BodyLimit, o.ReadTimeout = memory, 64<<10, 2*time.Minute
				secrets := o.Credentials["sandbox"]
				o.Credentials = map[string]map[string][]string{"sandbox": {}}
				for _, account := range c.accounts {
					o.Credentials["sandbox"][account] = secrets[account]
				}
			})
			for range begun {
				conn, _ := g.dial()
				fmt.Fprintf(conn, "POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s",
					caller{name: "sandbox"}.secret("default"), size+1, strings.Repeat(" ", size))
			}
			held := 0
			testbench.Until(t, "each body is held or refused", func() bool {
				held = int(g.gauge("arauto_webhook_body_memory_bytes")) / each
				return held+int(g.metric("arauto_webhooks_total", "503100")) == begun
			})
			if held != c.holds {
				t.Errorf("%d bodies are held, want %d", held, c.holds)
			}
			if len(c.accounts) == 1 {
				return
			}
			other := caller{name: "sandbox", header: "authorization"}
			body := `{"payment":"p"}` + strings.Repeat(" ", size)
			for i := range 10 { // More than its share, one after the other.
				if got := g.post(other.path("acme", ""), other.headers(other.secret("acme")), body).code(t); got != 200 {
					t.Errorf("body %d of another account: code %d", i, got)
				}
			}
		})
	}
}
