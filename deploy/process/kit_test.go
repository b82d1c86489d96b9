package process

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// running is a role that runs until the test ends or stops it.
type running struct {
	kit  *Kit
	url  string
	logs *output
	stop context.CancelFunc
	code <-chan int
}

// start runs a role that waits for its end, and returns once it has begun.
func start(t *testing.T, config string, begin func(*Kit)) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	kits, code := make(chan *Kit, 1), make(chan int, 1)
	logs := &output{}
	go func() {
		code <- Run(ctx, "normalize", []string{"-config", config}, nothing, io.Discard, logs, func(ctx context.Context, k *Kit) error {
			begin(k)
			kits <- k
			<-ctx.Done()
			return nil
		})
	}()
	t.Cleanup(cancel)
	select {
	case k := <-kits:
		return running{kit: k, url: "http://" + k.Admin(), logs: logs, stop: cancel, code: code}
	case c := <-code:
		t.Fatalf("it ended with %d:\n%s", c, logs)
	case <-time.After(patience):
		t.Fatal("it did not begin")
	}
	return running{}
}

// end stops the role and returns its exit code.
func (r running) end(t *testing.T) int {
	t.Helper()
	r.stop()
	select {
	case code := <-r.code:
		return code
	case <-time.After(patience):
		t.Fatal("it did not end")
		return -1
	}
}

func TestReadinessFollowsTheRole(t *testing.T) {
	t.Parallel()
	broken := make(chan error, 1)
	r := start(t, written(t, broker(t, nil).ClientURL(), ""), func(*Kit) {})
	defer func() {
		if code := r.end(t); code != ExitClean {
			t.Errorf("the exit code is %d", code)
		}
	}()
	expect := func(code int, body string) {
		t.Helper()
		if got, text := get(t, r.url+"/readyz"); got != code || text != body+"\n" {
			t.Errorf("readyz answers %d %s, want %d %s", got, text, code, body)
		}
	}
	expect(503, `{"ready":false,"checks":{"nats":"ok","process":"starting"}}`)
	r.kit.Ready("stream", func(context.Context) error {
		select {
		case err := <-broken:
			return err
		default:
			return nil
		}
	})
	expect(200, `{"ready":true,"checks":{"nats":"ok","process":"ok","stream":"ok"}}`)
	broken <- errors.New("it is full")
	expect(503, `{"ready":false,"checks":{"nats":"ok","process":"ok","stream":"it is full"}}`)
	expect(200, `{"ready":true,"checks":{"nats":"ok","process":"ok","stream":"ok"}}`)
	if code, text := get(t, r.url+"/healthz"); code != 200 || text != "Ok\n" {
		t.Errorf("healthz answers %d %s", code, text)
	}
}

func TestHungReadinessCheckIsNamed(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	var c checks
	c.add("hung", func(context.Context) error { <-release; return nil })
	c.add("fine", func(context.Context) error { return nil })
	c.begin()
	got := c.run(t.Context())
	if got.Ready || got.Checks["hung"] != "no answer within 2s" || got.Checks["fine"] != "ok" {
		t.Errorf("readiness is %+v", got)
	}
}

func TestStoppingIsNotReadyAndAdminIsClosedLast(t *testing.T) {
	t.Parallel()
	var order []string
	r := start(t, written(t, broker(t, nil).ClientURL(), ""), func(k *Kit) {
		k.Ready("role", func(context.Context) error { return nil })
		k.OnStop("first", func(context.Context) error {
			order = append(order, "first")
			if !k.NATS.IsConnected() {
				return errors.New("the connection is gone already")
			}
			code, text := get(t, "http://"+k.Admin()+"/readyz")
			if code != 503 || !strings.Contains(text, `"process":"stopping"`) {
				t.Errorf("while stopping readyz answers %d %s", code, text)
			}
			return nil
		})
		k.OnStop("second", func(context.Context) error { order = append(order, "second"); return nil })
	})
	if code := r.end(t); code != ExitClean || !slices.Equal(order, []string{"second", "first"}) {
		t.Errorf("it stopped %v with code %d:\n%s", order, code, r.logs)
	}
	if code, _ := get(t, r.url+"/healthz"); code != 0 || !r.kit.NATS.IsClosed() {
		t.Errorf("after the end the admin listener answers %d, the connection is %v", code, r.kit.NATS.Status())
	}
}

func TestDrainingRoleIsNotReady(t *testing.T) {
	t.Parallel()
	answers := make(chan string, 2)
	path := written(t, broker(t, nil).ClientURL(), "")
	ask := func(k *Kit) {
		_, text := get(t, "http://"+k.Admin()+"/readyz")
		answers <- text
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var logs output
	code := Run(ctx, "normalize", []string{"-config", path}, nothing, io.Discard, &logs, func(ctx context.Context, k *Kit) error {
		k.Ready("role", func(context.Context) error { return nil })
		cancel()
		until(t, "the stop is noticed", func() bool { return strings.Contains(logs.String(), `"msg":"stopping"`) })
		ask(k)
		return nil
	})
	code += Run(t.Context(), "normalize", []string{"-config", path}, nothing, io.Discard, io.Discard, func(_ context.Context, k *Kit) error {
		k.Ready("role", func(context.Context) error { return nil })
		k.OnStop("ask", func(context.Context) error { ask(k); return nil })
		return nil
	})
	if code != ExitClean {
		t.Errorf("the exit codes add up to %d", code)
	}
	for _, when := range []string{"after the signal", "after the role's own end"} {
		if text := <-answers; !strings.Contains(text, `"process":"stopping"`) {
			t.Errorf("%s readyz answers %s", when, text)
		}
	}
}

func TestFailedStartLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	path := written(t, "", "nats: {ca_file: arauto.yaml}\ngateway: {admin: '"+free.Addr().String()+"'}\n")
	var out output
	code := Run(t.Context(), "gateway", []string{"-config", path}, nothing, io.Discard, &out, func(context.Context, *Kit) error { return nil })
	if code != ExitFailed || !strings.Contains(out.String(), "connect to broker: ") {
		t.Errorf("the exit code is %d:\n%s", code, &out)
	}
	again, err := net.Listen("tcp", free.Addr().String())
	if err != nil {
		t.Fatalf("the admin socket is still open: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestAdminServesMetricsAndExtraRoutes(t *testing.T) {
	t.Parallel()
	r := start(t, written(t, broker(t, nil).ClientURL(), ""), func(k *Kit) {
		k.Handle("GET /durability", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fsync") }))
	})
	defer r.end(t)
	for path, want := range map[string]string{"/metrics": "go_goroutines ", "/durability": "fsync"} {
		if code, text := get(t, r.url+path); code != 200 || !strings.Contains(text, want) {
			t.Errorf("%s answers %d without %q: %s", path, code, want, text)
		}
	}
	if _, text := get(t, r.url+"/metrics"); !strings.Contains(text, "process_start_time_seconds ") {
		t.Error("the process collector is missing")
	}
	if code, _ := get(t, r.url+"/nothing"); code != 404 {
		t.Errorf("an unknown path answers %d", code)
	}
}

func TestAdminAddressInUseEndsTheStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := written(t, broker(t, nil).ClientURL(), "gateway: {admin: '"+taken.Addr().String()+"'}\n")
	var out output
	code := Run(t.Context(), "gateway", []string{"-config", path}, nothing, io.Discard, &out, func(context.Context, *Kit) error { return nil })
	if code != ExitFailed || !strings.Contains(out.String(), "open socket admin") {
		t.Errorf("the exit code is %d:\n%s", code, &out)
	}
}

func TestBrokenAdminListenerStopsTheProcess(t *testing.T) {
	t.Parallel()
	var out output
	code := Run(t.Context(), "normalize", []string{"-config", written(t, broker(t, nil).ClientURL(), "")}, nothing, io.Discard, &out,
		func(ctx context.Context, k *Kit) error {
			if err := k.admin.listener.Close(); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
	if code != ExitFailed || !strings.Contains(out.String(), "serve admin: ") {
		t.Errorf("the exit code is %d:\n%s", code, &out)
	}
}

func TestPublishFailsAtOnceWithoutBrokerAndWorksAgainAfter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := broker(t, func(o *server.Options) { o.StoreDir = dir })
	port := s.Addr().(*net.TCPAddr).Port
	r := start(t, written(t, s.ClientURL(), ""), func(k *Kit) {
		k.Ready("role", func(context.Context) error { return nil })
	})
	defer r.end(t)
	if err := r.kit.NATS.Publish("a", nil); err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
	s.WaitForShutdown()
	until(t, "disconnect", func() bool { return !r.kit.NATS.IsConnected() })
	begun := time.Now()
	err := r.kit.NATS.Publish("a", []byte("x"))
	if took := time.Since(begun); !errors.Is(err, nats.ErrReconnectBufExceeded) || took > time.Second {
		t.Errorf("publish without a broker: %v after %v", err, took)
	}
	if code, text := get(t, r.url+"/readyz"); code != 503 || !strings.Contains(text, `"nats":"not connected to the broker"`) {
		t.Errorf("readyz answers %d %s", code, text)
	}
	broker(t, func(o *server.Options) { o.Port, o.StoreDir = port, dir })
	until(t, "reconnect", func() bool { return r.kit.NATS.Publish("a", nil) == nil })
	until(t, "ready again", func() bool { code, _ := get(t, r.url+"/readyz"); return code == 200 })
	for _, want := range []string{"broker connected", "broker disconnected"} {
		if !strings.Contains(r.logs.String(), want) {
			t.Errorf("the logs lack %q:\n%s", want, r.logs)
		}
	}
}

func TestProcessStartsWithoutBrokerAndFindsItLater(t *testing.T) {
	t.Parallel()
	reserved, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := reserved.Addr().(*net.TCPAddr).Port
	if err := reserved.Close(); err != nil {
		t.Fatal(err)
	}
	r := start(t, written(t, "nats://"+reserved.Addr().String(), ""), func(k *Kit) {
		k.Ready("role", func(context.Context) error { return nil })
	})
	defer r.end(t)
	if err := r.kit.NATS.Publish("a", []byte("x")); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("publish before the first connection: %v", err)
	}
	until(t, "the refusal is logged", func() bool { return strings.Contains(r.logs.String(), "broker cannot be reached") })
	broker(t, func(o *server.Options) { o.Port = port })
	until(t, "ready", func() bool { code, _ := get(t, r.url+"/readyz"); return code == 200 })
	if got := strings.Count(r.logs.String(), "broker cannot be reached"); got > 3 {
		t.Errorf("the same refusal is logged %d times:\n%s", got, r.logs)
	}
}

func TestWrongBrokerPasswordIsTriedOnAndNeverShown(t *testing.T) {
	t.Parallel()
	s := broker(t, func(o *server.Options) { o.Username, o.Password = "me", "another" })
	r := start(t, written(t, "", "nats: {url: '"+s.ClientURL()+"', user: me, password: "+canary+"}\n"), func(*Kit) {})
	until(t, "refusals", func() bool {
		seen, err := s.Varz(nil)
		return err == nil && seen.TotalConnections >= 5
	})
	if !strings.Contains(r.logs.String(), "Authorization") {
		t.Errorf("the refusal is not logged:\n%s", r.logs)
	}
	if status := r.kit.NATS.Status(); status != nats.RECONNECTING {
		t.Errorf("the connection is %v", status)
	}
	_, metrics := get(t, r.url+"/metrics")
	_, readyz := get(t, r.url+"/readyz")
	if code := r.end(t); code != ExitClean {
		t.Errorf("the exit code is %d", code)
	}
	for where, text := range map[string]string{"logs": r.logs.String(), "metrics": metrics, "readyz": readyz} {
		if strings.Contains(text, canary) {
			t.Errorf("the %s show the secret:\n%s", where, text)
		}
	}
}

func TestBrokerSeesUserNameAndInboxOfTheRole(t *testing.T) {
	t.Parallel()
	s := broker(t, func(o *server.Options) { o.Username, o.Password = "me", canary })
	r := start(t, written(t, "", "nats: {url: '"+s.ClientURL()+"', user: me, password: "+canary+"}\n"), func(*Kit) {})
	defer r.end(t)
	if inbox := r.kit.NATS.NewInbox(); !strings.HasPrefix(inbox, "_INBOX_normalize.") {
		t.Errorf("the inbox is %s", inbox)
	}
	seen, err := s.Connz(nil)
	if err != nil || len(seen.Conns) != 1 || seen.Conns[0].Name != "arauto-normalize" {
		t.Errorf("the broker sees %+v, %v", seen, err)
	}
}
