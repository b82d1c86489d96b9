package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// brokerStore is how many bytes JetStream may use. The streams reserve up to
// 80 % of it but take disk only as they fill.
const brokerStore = 8 << 30

// brokerStart is how long the broker may take to recover its data.
const brokerStart = 30 * time.Second

// broker is the embedded NATS server and the supervisor's own connection to
// it, which does not use the network.
type broker struct {
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
}

// startBroker runs a server with its data in dir. It has no credentials,
// because its address is meant to be a loopback one. Everything is synced to
// disk before it is confirmed: with one replica, a 200 is worth no more than
// that.
func startBroker(ctx context.Context, address, dir string, log *zap.Logger) (*broker, error) {
	host, port, err := freeAddress(ctx, address)
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "arauto-local", Host: host, Port: port,
		JetStream: true, StoreDir: dir, JetStreamMaxStore: brokerStore,
		SyncAlways: true, NoSigs: true,
		HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT, // Where the gateway sees that it syncs.
	})
	if err != nil {
		return nil, fmt.Errorf("make broker: %w", err)
	}
	journal := &brokerLog{log: log.Sugar()}
	srv.SetLoggerV2(journal, false, false, false)
	srv.Start()
	b := &broker{server: srv}
	if !srv.ReadyForConnections(brokerStart) {
		return nil, errors.Join(fmt.Errorf("start broker: it is not ready after %v", brokerStart), b.stop())
	}
	if b.conn, err = nats.Connect("", nats.InProcessServer(srv), nats.Name("arauto-local")); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to broker: %w", err), b.stop())
	}
	if b.js, err = jetstream.New(b.conn); err != nil {
		return nil, errors.Join(fmt.Errorf("open jetstream: %w", err), b.stop())
	}
	return b, nil
}

// freeAddress waits until the address is free and takes it apart. Asking
// first makes an address in use an error at once instead of a broker that
// never becomes ready.
func freeAddress(ctx context.Context, address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("read broker address: %w", err)
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, fmt.Errorf("read broker port: %w", err)
	}
	if port == 0 {
		return host, server.RANDOM_PORT, nil
	}
	listener, err := listen(ctx, address)
	if err != nil {
		return "", 0, err
	}
	if err := listener.Close(); err != nil {
		return "", 0, fmt.Errorf("free address: %w", err)
	}
	return host, port, nil
}

// address is host:port.
func (b *broker) address() string { return b.server.Addr().String() }

// monitor is the base URL of its monitoring address.
func (b *broker) monitor() string { return "http://" + b.server.MonitorAddr().String() }

// check says whether the broker answers and can store.
func (b *broker) check(ctx context.Context) error {
	if _, err := b.js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("ask broker: %w", err)
	}
	return nil
}

// stop closes the connection and the server and waits until its files are
// closed.
func (b *broker) stop() error {
	if b.conn != nil {
		b.conn.Close()
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
	return nil
}

// brokerLog writes the server's log lines to ours. The server calls Fatalf
// where its own binary would exit; here its readiness tells.
type brokerLog struct{ log *zap.SugaredLogger }

func (l *brokerLog) Noticef(format string, v ...any) { l.log.Infof(format, v...) }
func (l *brokerLog) Warnf(format string, v ...any)   { l.log.Warnf(format, v...) }
func (l *brokerLog) Errorf(format string, v ...any)  { l.log.Errorf(format, v...) }
func (l *brokerLog) Fatalf(format string, v ...any)  { l.log.Errorf(format, v...) }
func (l *brokerLog) Debugf(format string, v ...any)  { l.log.Debugf(format, v...) }
func (l *brokerLog) Tracef(format string, v ...any)  { l.log.Debugf(format, v...) }
