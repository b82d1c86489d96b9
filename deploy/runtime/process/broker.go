package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"arauto/deploy/runtime/config"
)

// writeTimeout is how long a write to the broker's socket may take. It is below the default
// publish timeout of 800 ms.
const writeTimeout = 400 * time.Millisecond

// connect opens the broker connection. It does not fail because the broker is
// away: the connection keeps trying, and readiness says so.
func connect(role string, n config.NATS, link *Link, log *zap.Logger) (*nats.Conn, error) {
	j := &journal{log: log, link: link, advice: n.Advice}
	options := []nats.Option{
		nats.Name(cmp.Or(n.Name, "arauto-"+role)),
		// An inbox prefix per role lets the broker's permissions keep one role
		// from reading the replies to another.
		nats.CustomInboxPrefix("_INBOX_" + role),
		nats.RetryOnFailedConnect(true),
		nats.SetCustomDialer(link),
		nats.MaxReconnects(-1),
		// A rotated password must not end the connection for good: by default
		// the client gives up after two refusals.
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(j.delay),
		// No buffer: see Kit.NATS.
		nats.ReconnectBufSize(-1),
		// Two missed pings detect a frozen or unreachable broker within about six seconds,
		// instead of six minutes by default.
		nats.PingInterval(2 * time.Second),
		// A broker that is connected but does not read fills the socket, and a
		// publish then waits in the write, for a minute by default. The gateway's
		// callers are answered sooner.
		nats.FlusherTimeout(writeTimeout),
		nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(j.failed),
		nats.ConnectHandler(j.connected),
		nats.DisconnectErrHandler(j.disconnected),
		nats.ReconnectHandler(j.connected),
		nats.ReconnectErrHandler(j.refused),
	}
	conn, err := nats.Connect(n.URL, append(options, n.Login()...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	j.conn.Store(conn)
	return conn, nil
}

// reconnectDelay is the pause before an attempt to reconnect, after every server was tried
// so often. The first attempt follows almost at once, so that a connection that was cut is
// replaced within a webhook's publish timeout. The others follow within 150 ms, so that a
// broker that is up again is used within 200 ms.
func reconnectDelay(tries int) time.Duration {
	if tries <= 1 {
		return rand.N(10 * time.Millisecond)
	}
	return 50*time.Millisecond + rand.N(100*time.Millisecond)
}

// quickRefusals is how many refusals are followed by another try soon: a broker
// that is being configured may refuse for a moment.
const quickRefusals = 3

// refusedDelay is the pause after so many refusals of this role's login, or of a
// certificate, in a row. It costs the broker a connection and a line of its log each time, and only a
// person can mend it, so it grows to between 5 and 7.5 s.
func refusedDelay(refusals int) time.Duration {
	if refusals <= quickRefusals {
		return 100 * time.Millisecond << refusals
	}
	return 5*time.Second + rand.N(2500*time.Millisecond)
}

// delay is the pause before a try to reconnect. The client tells why the last try
// failed only by its last error, and calls no handler about a refusal while it has
// never been connected (nats.go 1.55.0, nats.go, processAuthError and doReconnect).
// Before this may go, check that ReconnectErrHandler is called when processConnectInit
// fails.
func (j *journal) delay(tries int) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if conn := j.conn.Load(); conn == nil || j.advice(conn.LastError()) == "" {
		j.refusals = 0
		return reconnectDelay(tries)
	}
	j.refusals++
	return refusedDelay(j.refusals)
}

// disconnect sends what is still buffered, acknowledgements above all, and
// closes.
func disconnect(ctx context.Context, conn *nats.Conn) error {
	defer conn.Close()
	if !conn.IsConnected() {
		return nil
	}
	if err := conn.FlushWithContext(ctx); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// journal logs the events of the connection, and updates the link. The client tries five to
// ten times a second, so an error that repeats is logged once.
type journal struct {
	log    *zap.Logger
	link   *Link
	advice func(error) string        // What to do about an error, "" for nothing.
	conn   atomic.Pointer[nats.Conn] // nil until it is made.

	mu       sync.Mutex
	last     string
	refusals int // Of the login or of a certificate, in a row.
}

// news reports whether err is not what was logged last.
func (j *journal) news(err error) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	again := err.Error() == j.last
	j.last = err.Error()
	return !again
}

func (j *journal) connected(c *nats.Conn) {
	j.link.up.Store(true)
	j.mu.Lock()
	j.last = ""
	j.mu.Unlock()
	j.log.Info("broker.connected", zap.String("url", c.ConnectedUrlRedacted()), zap.String("server", c.ConnectedServerName()))
}

func (j *journal) disconnected(_ *nats.Conn, err error) {
	j.link.up.Store(false)
	if err == nil { // Closed by ourselves.
		return
	}
	j.log.Warn("broker.disconnected", zap.Error(err))
}

func (j *journal) refused(_ *nats.Conn, err error) {
	if j.news(err) {
		j.log.Warn("broker.connect_failed", j.fields(err)...)
	}
}

// failed logs errors that no call returns, such as a missing permission or a
// password that has changed since the process began.
func (j *journal) failed(_ *nats.Conn, sub *nats.Subscription, err error) {
	switch {
	case sub != nil:
		j.log.Error("broker.error_received", zap.Error(err), zap.String("subscription", sub.Subject))
	case j.news(err):
		j.log.Error("broker.error_received", j.fields(err)...)
	}
}

// fields are an error and what to do about it.
func (j *journal) fields(err error) []zap.Field {
	fields := []zap.Field{zap.Error(err)}
	if advice := j.advice(err); advice != "" {
		fields = append(fields, zap.String("advice", advice))
	}
	return fields
}
