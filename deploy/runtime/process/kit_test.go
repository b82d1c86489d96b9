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

	"go.uber.org/zap"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
)

// running is a role that runs until the test ends or stops it.
type running struct {
	kit  *Kit
	url  string
	logs *testbench.Output
	stop context.CancelFunc
	code <-chan int
}

// start runs a role that waits for its end, and returns once it has begun.
func start(t *testing.T, path string, begin func(*Kit)) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	kits, code := make(chan *Kit, 1), make(chan int, 1)
	logs := &testbench.Output{}
	go func() {
		code <- Run(ctx, "normalize", []string{"-config", path}, nothing, io.Discard, logs, func(ctx context.Context, k *Kit) error {
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
	case <-time.After(longest):
		t.Fatal("it did not begin")
	}
	return running{}
}

// end stops the role and returns its exit code.
func (r running) end(t *testing.T) int {
	t.Helper()
	r.stop()
	return testbench.Receive(t, "the role ends", r.code)
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
	forBalancer := func(code int, body string) {
		t.Helper()
		if got, text := get(t, r.url+"/readyz?for=balancer"); got != code || text != body+"\n" {
			t.Errorf("readyz for a balancer answers %d %s, want %d %s", got, text, code, body)
		}
	}
	expect(503, `{"ready":false,"checks":{"nats":"ok","process":"starting"}}`)
	forBalancer(503, `{"ready":false,"checks":{"process":"starting"}}`)
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
	forBalancer(200, `{"ready":true,"checks":{"process":"ok"}}`) // And it asks nobody.
	expect(503, `{"ready":false,"checks":{"nats":"ok","process":"ok","stream":"it is full"}}`)
	expect(200, `{"ready":true,"checks":{"nats":"ok","process":"ok","stream":"ok"}}`)
	if code, _ := get(t, r.url+"/readyz?for=balancers"); code != 400 {
		t.Errorf("for something unknown readyz answers %d", code)
	}
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
	c.begun.Store(true)
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
			if code, _ := get(t, "http://"+k.Admin()+"/readyz?for=balancer"); code != 503 {
				t.Errorf("while stopping readyz answers a balancer with %d", code)
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
	var logs testbench.Output
	code := Run(ctx, "normalize", []string{"-config", path}, nothing, io.Discard, &logs, func(ctx context.Context, k *Kit) error {
		k.Ready("role", func(context.Context) error { return nil })
		cancel()
		testbench.Until(t, "the stop is noticed", func() bool { return strings.Contains(logs.String(), `"msg":"process.stop_requested"`) })
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
	cfg, err := config.Load(written(t, "", "nats: {ca_file: arauto.yaml}\n"), nothing, nil)
	testbench.Must(t, err)
	k, err := newKit("normalize", cfg, zap.NewNop(), stopLimits)
	if err == nil || !strings.HasPrefix(err.Error(), "connect to broker: ") {
		t.Fatalf("the error is %v", err)
	}
	if err := k.stop(); err != nil {
		t.Error(err)
	}
	if _, err := k.admin.listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the admin socket is still open: %v", err)
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
	if kind, text := getAs(t, r.url+"/metrics", "application/openmetrics-text;version=1.0.0"); !strings.HasPrefix(kind, "application/openmetrics-text") || !strings.HasSuffix(text, "# EOF\n") {
		t.Errorf("asked for OpenMetrics, it answers with %s:\n%s", kind, text)
	}
	if _, text := get(t, r.url+"/metrics"); !strings.Contains(text, "process_start_time_seconds ") || !strings.Contains(text, `arauto_build_info{goversion="go1.`) {
		t.Error("the process collector is missing")
	}
	if code, _ := get(t, r.url+"/nothing"); code != 404 {
		t.Errorf("an unknown path answers %d", code)
	}
}

func TestAdminAddressInUseEndsTheStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	defer taken.Close()
	path := written(t, broker(t, nil).ClientURL(), "gateway: {admin: '"+taken.Addr().String()+"'}\n")
	var out testbench.Output
	code := Run(t.Context(), "gateway", []string{"-config", path}, nothing, io.Discard, &out, func(context.Context, *Kit) error { return nil })
	if code != ExitFailed || !strings.Contains(out.String(), "open socket admin") {
		t.Errorf("the exit code is %d:\n%s", code, &out)
	}
}

func TestBrokenAdminListenerStopsTheProcess(t *testing.T) {
	t.Parallel()
	var out testbench.Output
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
