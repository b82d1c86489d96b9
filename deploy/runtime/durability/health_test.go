package durability_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

// publish stores one notification, and reports whether it was confirmed.
func publish(t *testing.T, f *processtest.Fillable) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := f.JS.Publish(ctx, "notifications.sandbox.default.p", []byte("{}"))
	return err == nil
}

// A broker whose disk was full confirms nothing more, also when there is room again,
// until it is restarted.
func TestWriteErrorIsSeenUntilTheBrokerIsRestarted(t *testing.T) {
	t.Parallel()
	f := processtest.StartFillable(t)
	w := watchWith(t, durability.Options{NC: f.NC, Monitors: []string{f.Monitor}, Claimed: power, Every: time.Hour})
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil })
	if !publish(t, f) || w.Stored(t.Context()) != nil {
		t.Fatal("nothing can be stored at first")
	}
	workers := func(more ...string) *durability.Health { return durability.NewHealth(append(more, f.Monitor)) }
	if err := workers().Explain(context.DeadlineExceeded); workers().Stored(t.Context()) != nil || err != context.DeadlineExceeded { //nolint:errorlint // Nothing is added to it.
		t.Errorf("at first workers say %v, %v", workers().Stored(t.Context()), err)
	}
	f.Fill()
	if _, r := w.report(t); !r.Holds {
		t.Fatalf("before anything is written the report is %+v", r)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // It is never confirmed.
	defer cancel()
	if _, err := f.JS.Publish(short, "notifications.sandbox.default.p", []byte("{}")); err == nil {
		t.Fatal("the disk is not full")
	}
	if err := w.Unconfirmed(); err != nil { // One such caller is enough, also right after a look.
		t.Fatal(err)
	}
	testbench.Until(t, "a caller who was not confirmed has it looked at", func() bool { return w.Stored(t.Context()) != nil })
	f.Free()
	if publish(t, f) {
		t.Fatal("the broker has mended itself, so the watcher may stop to look for this")
	}
	why := w.Stored(t.Context()).Error()
	for _, want := range []string{"the store of test is in a write error: NOTIFICATIONS (", "file too large", "free space on its disk, then restart that server"} {
		if !strings.Contains(why, want) {
			t.Errorf("it says %q, without %q", why, want)
		}
	}
	for name, err := range map[string]error{
		"the log of a worker": workers().Explain(context.DeadlineExceeded), "the readiness of a worker": workers().Stored(t.Context()),
	} {
		if err == nil || !strings.Contains(err.Error(), "is in a write error: NOTIFICATIONS (") || !strings.Contains(err.Error(), "free space on its disk, then restart that server") {
			t.Errorf("%s says %v", name, err)
		}
	}
	if err := workers("http://127.0.0.1:1", "http://127.0.0.1:1").Stored(t.Context()); err != nil {
		t.Errorf("one server of three stops a worker: %v", err)
	}
	_, r := w.report(t)
	if !r.Holds || len(r.Facts.Servers) != 1 || len(r.Facts.Servers[0].Failed) != 1 || r.Facts.Servers[0].Failed[0].Name != subject.Notifications {
		t.Errorf("the report is %+v", r)
	}
	if got := durability.Look(t.Context(), durability.NewReader(f.JS, []string{f.Monitor}), 0); !strings.Contains(got.Weak[len(got.Weak)-1].String(), "in a write error") {
		t.Errorf("arauto status shows %v", got.Weak)
	}
	if n := len(w.logs.FilterMessage("broker.write_failed").All()); n != 1 || w.gauge(t, "arauto_broker_write_errors") != 1 {
		t.Errorf("logged %d times, the gauge is %v", n, w.gauge(t, "arauto_broker_write_errors"))
	}
	f.Kill()
	f.Start()
	testbench.Until(t, "it writes again", func() bool { return w.Stored(t.Context()) == nil && publish(t, f) })
	testbench.Until(t, "the gauge falls", func() bool { return w.gauge(t, "arauto_broker_write_errors") == 0 })
}

// With replicas a server with a write error is like one that is away.
func TestOneFailedReplicaIsToldAndStopsNothing(t *testing.T) {
	t.Parallel()
	bad := []durability.Failure{{Name: subject.Notifications, Error: "no space left on device"}}
	for name, c := range map[string]struct {
		failed [3][]durability.Failure
		weak   int
		claim  durability.Claim
	}{
		"none":                {[3][]durability.Failure{}, 0, all},
		"one":                 {[3][]durability.Failure{bad}, 1, all},
		"another stream only": {[3][]durability.Failure{{{Name: subject.Orders, Error: "e"}}, bad}, 2, all},
		"two":                 {[3][]durability.Failure{bad, bad}, 2, all},
	} {
		f := best()
		f.Servers = nil
		for i, failed := range c.failed {
			f.Servers = append(f.Servers, durability.Server{Name: string(rune('a' + i)), Sync: durability.Always, Failed: failed})
		}
		v := durability.Judge(f)
		if len(v.Weak) != c.weak || v.Claim != c.claim {
			t.Errorf("%s: %+v", name, v)
		}
		if why := f.Unwritable(); (why != nil) != (name == "two") {
			t.Errorf("%s: unwritable says %v", name, why)
		}
	}
}

// A holder that was started again may have another policy, and while its own
// monitoring address is silent only the other servers can tell of the restart.
func TestServerStartedAgainBehindASilentMonitorIsNotTrusted(t *testing.T) {
	t.Parallel()
	n := newCluster(t, always, always, always)
	to, err := url.Parse(n.monitors[2])
	testbench.Must(t, err)
	var silent atomic.Bool
	pass := proxy(to)
	third := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, q *http.Request) {
		if silent.Load() {
			answer.WriteHeader(http.StatusBadGateway)
			return
		}
		pass.ServeHTTP(answer, q)
	}))
	defer third.Close()
	w := watchWith(t, durability.Options{
		NC: n.js.Conn(), Monitors: []string{n.monitors[0], n.monitors[1], third.URL}, Claimed: all, Every: time.Hour,
	})
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil })
	silent.Store(true)
	if _, r := w.report(t); !r.Holds || w.Open() != nil {
		t.Errorf("a silent address alone breaks the claim: %+v", r)
	}
	n.restart(t, 2, lazy)
	testbench.Until(t, "it shuts", func() bool { return w.Open() != nil })
	if n.js.Conn().Stats().Reconnects != 0 {
		t.Error("the connection broke, so this shows nothing")
	}
	n.restart(t, 2, always)
	silent.Store(false)
	testbench.Until(t, "it opens again", func() bool { return w.Open() == nil })
}
