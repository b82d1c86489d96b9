package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
)

func TestPublishFailsAtOnceWithoutBrokerAndWorksAgainAfter(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), processtest.FreePorts(t, 1)[0]
	s := broker(t, func(o *server.Options) { o.Port, o.StoreDir = port, dir })
	r := start(t, written(t, s.ClientURL(), ""), func(k *Kit) {
		k.Ready("role", func(context.Context) error { return nil })
	})
	defer r.end(t)
	testbench.Must(t, r.kit.NATS.Publish("a", nil))
	testbench.Until(t, "the link is up", r.kit.Link.Up)
	connections := r.kit.Link.Connections()
	s.Shutdown()
	s.WaitForShutdown()
	testbench.Until(t, "disconnect", func() bool { return !r.kit.NATS.IsConnected() })
	testbench.Until(t, "the link is down", func() bool { return !r.kit.Link.Up() })
	begun := time.Now()
	err := r.kit.NATS.Publish("a", []byte("x"))
	if took := time.Since(begun); !errors.Is(err, nats.ErrReconnectBufExceeded) || took > time.Second {
		t.Errorf("publish without a broker: %v after %v", err, took)
	}
	if code, text := get(t, r.url+"/readyz"); code != 503 || !strings.Contains(text, `"nats":"not connected to the broker"`) {
		t.Errorf("readyz answers %d %s", code, text)
	}
	broker(t, func(o *server.Options) { o.Port, o.StoreDir = port, dir })
	testbench.Until(t, "reconnect", func() bool { return r.kit.NATS.Publish("a", nil) == nil })
	testbench.Until(t, "ready again", func() bool { code, _ := get(t, r.url+"/readyz"); return code == 200 })
	testbench.Until(t, "the link is up again", r.kit.Link.Up)
	if got := r.kit.Link.Connections(); got <= connections {
		t.Errorf("%d connections after a reconnect, %d before", got, connections)
	}
	for _, want := range []string{"broker.connected", "broker.disconnected"} {
		if !strings.Contains(r.logs.String(), want) {
			t.Errorf("the logs lack %q:\n%s", want, r.logs)
		}
	}
}

func TestProcessStartsWithoutBrokerAndFindsItLater(t *testing.T) {
	t.Parallel()
	port := processtest.FreePorts(t, 1)[0]
	r := start(t, written(t, "nats://127.0.0.1:"+strconv.Itoa(port), ""), func(k *Kit) {
		k.Ready("role", func(context.Context) error { return nil })
	})
	defer r.end(t)
	if err := r.kit.NATS.Publish("a", []byte("x")); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("publish before the first connection: %v", err)
	}
	testbench.Until(t, "the refusal is logged", func() bool { return strings.Contains(r.logs.String(), "broker.connect_failed") })
	broker(t, func(o *server.Options) { o.Port = port })
	testbench.Until(t, "ready", func() bool { code, _ := get(t, r.url+"/readyz"); return code == 200 })
}

func TestWrongBrokerPasswordIsTriedOnAndNeverShown(t *testing.T) {
	t.Parallel()
	s := broker(t, func(o *server.Options) { o.Username, o.Password = "me", "another" })
	r := start(t, written(t, "", "nats: {url: '"+s.ClientURL()+"', user: me, password: "+canary+"}\n"), func(*Kit) {})
	testbench.Until(t, "refusals", func() bool {
		seen, err := s.Varz(nil)
		return err == nil && seen.TotalConnections >= 3
	})
	if n := strings.Count(r.logs.String(), "Authorization"); n == 0 || n > 2 {
		t.Errorf("the same refusal is logged %d times:\n%s", n, r.logs)
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

func TestPasswordThatChangesIsReportedOnceAndTriedOn(t *testing.T) {
	t.Parallel()
	port := processtest.FreePorts(t, 1)[0]
	with := func(password string) *server.Server {
		return broker(t, func(o *server.Options) { o.Port, o.Username, o.Password = port, "me", password })
	}
	s := with("before")
	r := start(t, written(t, "", "nats: {url: '"+s.ClientURL()+"', user: me, password: before}\n"), func(*Kit) {})
	defer r.end(t)
	restart := func(password string) {
		s.Shutdown()
		s.WaitForShutdown()
		s = with(password)
	}
	restart("after")
	testbench.Until(t, "refusals", func() bool {
		seen, err := s.Varz(nil)
		return err == nil && seen.TotalConnections >= 3
	})
	if n := strings.Count(r.logs.String(), "uthorization"); n == 0 || n > 2 {
		t.Errorf("the refusal is logged %d times:\n%s", n, r.logs)
	}
	restart("before")
	testbench.Until(t, "connected again", r.kit.NATS.IsConnected)
}

func TestSameErrorIsLoggedOnceUntilItIsMended(t *testing.T) {
	t.Parallel()
	log, logs := testbench.Logs(zapcore.DebugLevel)
	j := &journal{log: log, link: newLink(), advice: config.NATS{}.Advice}
	first, second := errors.New("refused"), errors.New("reset")
	for _, err := range []error{first, first, first, second, first} {
		j.refused(nil, err)
	}
	j.failed(nil, nil, second)
	j.failed(nil, nil, second)
	j.connected(nil)
	if !j.link.Up() {
		t.Error("the link is not up when the client has connected")
	}
	j.refused(nil, second)
	sub := &nats.Subscription{Subject: "a"}
	j.failed(nil, sub, second)
	j.disconnected(nil, nil)
	if j.link.Up() {
		t.Error("the link is up when the client has disconnected")
	}
	var got []string
	for _, entry := range logs.All() {
		got = append(got, fmt.Sprint(entry.ContextMap()["error"]))
	}
	if want := []string{"refused", "reset", "refused", "reset", "<nil>", "reset", "reset"}; !slices.Equal(got, want) {
		t.Errorf("the errors logged are %v, want %v", got, want)
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

// TestBrokerThatIsBackIsUsedSoon holds the pauses below what the README
// promises: after a recovery the first webhook is accepted within 200 ms.
func TestBrokerThatIsBackIsUsedSoon(t *testing.T) {
	t.Parallel()
	for tries := range 50 {
		for range 100 {
			d, limit := reconnectDelay(tries), 150*time.Millisecond
			if tries <= 1 {
				limit = 10 * time.Millisecond
			}
			if d < 0 || d > limit {
				t.Fatalf("try %d comes after %v", tries, d)
			}
		}
	}
}

// Each try costs the broker a connection and a line of its log.
func TestRefusedPasswordIsTriedLessAndLessOften(t *testing.T) {
	t.Parallel()
	for refusals, least := range map[int]time.Duration{1: 0, 3: 0, 4: 5 * time.Second, 5: 5 * time.Second, 1000: 5 * time.Second} {
		if d := refusedDelay(refusals); d < least || d <= 0 || d > 8*time.Second {
			t.Errorf("refusal %d is followed by a try after %v", refusals, d)
		}
	}
	s := broker(t, func(o *server.Options) { o.Username, o.Password = "me", "another" })
	j := &journal{log: zap.NewNop(), link: newLink(), advice: config.NATS{}.Advice}
	c, err := nats.Connect(s.ClientURL(), nats.UserInfo("me", "wrong"), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), nats.CustomReconnectDelay(j.delay))
	testbench.Must(t, err)
	defer c.Close()
	j.conn.Store(c)
	testbench.Until(t, "the refusals are counted", func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.refusals >= 2
	})
}
