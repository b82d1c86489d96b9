package browser

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// TestPageSaysHowOldItIsWhileTheBrokerIsAway: a console whose way to the broker is cut keeps
// its page, says how old that is, and goes on by itself once the broker is there.
func TestPageSaysHowOldItIsWhileTheBrokerIsAway(t *testing.T) {
	if shared.missing != "" {
		t.Fatal(shared.missing)
	}
	proxy := testbench.NewProxy(t, strings.TrimPrefix(shared.at["NATS"], "nats://"), nil, nil)
	b := tabAt(t, ownConsole(t, "nats://"+proxy.Addr))
	set(t, "sandbox", "default", "walk-restart", map[string]any{"status": "pending", "order": "order-of-restart"})
	const path = "/payments/sandbox/default/walk-restart"
	b.get(path)
	b.await("the payment", `document.querySelectorAll(".timeline details").length === 1`)
	proxy.Refuse(true)
	proxy.Cut()
	b.await("the warning that it is old", `!document.getElementById("stale").hidden`)
	before := eval[string](b, `document.getElementById("as-of").dateTime`)
	b.shows("order-of-restart")
	b.await("its age to grow", `/[0-9]+ (s|min)/.test(document.getElementById("age").textContent) && Number(document.getElementById("age").textContent.match(/[0-9]+/)[0]) >= 2`)
	set(t, "sandbox", "default", "walk-restart", map[string]any{"status": "paid"})
	if after := eval[string](b, `document.getElementById("as-of").dateTime`); after != before {
		t.Errorf("the page of %s says that it is of %s while the broker is away", before, after)
	}
	if status := b.get(path); status != http.StatusServiceUnavailable {
		t.Errorf("without the broker the page is %d:\n%s", status, b.text())
	}
	b.shows("broker")
	proxy.Refuse(false)
	b.await("the page to be whole by itself", `document.querySelectorAll(".timeline details").length === 2`)
	b.await("no warning", `document.getElementById("stale").hidden`)
}

// ownConsole starts a console beside the one of the system, at another way to the broker. It
// ends with the test.
func ownConsole(t *testing.T, broker string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(shared.dir, "arauto.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	changed := strings.Replace(string(text), shared.at["NATS"], broker, 1)
	changed = regexp.MustCompile(`(?m)^  listen: `+regexp.QuoteMeta(strings.TrimPrefix(shared.at["console"], "http://"))+`$`).ReplaceAllString(changed, "  listen: "+address)
	folder := t.TempDir()
	name := filepath.Join(folder, "arauto.yaml")
	if err := os.WriteFile(name, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	console := exec.CommandContext(ctx, filepath.Join(shared.bin, "console"), "-config", name)
	console.Cancel = func() error { return console.Process.Signal(syscall.SIGTERM) }
	var log testbench.Output
	console.Stdout, console.Stderr = &log, &log
	if err := console.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = console.Wait() // It was stopped.
		if t.Failed() {
			t.Logf("the console logged\n%s", log.String())
		}
	})
	limited, end := context.WithTimeout(ctx, longest)
	defer end()
	if err := ready(limited, "http://"+address+"/"); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	return "http://" + address
}

// freeAddress returns a loopback address on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
