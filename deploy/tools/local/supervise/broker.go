package supervise

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// brokerStore is how many bytes JetStream may use. The streams reserve up to
// 80 % of it but take disk only as they fill.
const brokerStore = 8 << 30

// brokerStart is how long the broker may take to recover its data. A guess.
const brokerStart = 30 * time.Second

// startBroker runs a server on the files of the folder. It has no credentials, because its
// address is meant to be a loopback one, and syncs each message before its ack: with one
// replica, a 200 is durable only then.
func (s *supervisor) startBroker(ctx context.Context) error {
	at, err := net.ResolveTCPAddr("tcp", s.Addresses.NATS)
	if err != nil {
		return fmt.Errorf("read broker address: %w", err)
	}
	if at.Port == 0 {
		at.Port = server.RANDOM_PORT
	} else { // The server would only log that the address is in use.
		free, err := listen(ctx, s.Addresses.NATS)
		if err != nil {
			return err
		}
		_ = free.Close() // If it fails, so does the server.
	}
	book, err := s.openLogbook("broker")
	if err != nil {
		return err
	}
	if s.broker, err = server.NewServer(&server.Options{
		ServerName: "arauto-local", Host: at.IP.String(), Port: at.Port,
		JetStream: true, StoreDir: filepath.Join(s.Dir, "nats"), JetStreamMaxStore: brokerStore,
		SyncAlways: true, NoSigs: true,
		HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT, // Where the gateway reads that it syncs.
	}); err != nil {
		return fmt.Errorf("make broker: %w", err)
	}
	s.broker.SetLoggerV2(brokerLog{book.logger().Sugar()}, false, false, false)
	s.broker.Start()
	s.onStop(func() error { s.broker.Shutdown(); s.broker.WaitForShutdown(); return nil })
	if !s.broker.ReadyForConnections(brokerStart) {
		return fmt.Errorf("start broker: it is not ready after %v", brokerStart)
	}
	s.Addresses.NATS = s.broker.Addr().String()
	conn, err := nats.Connect("", nats.InProcessServer(s.broker), nats.Name("arauto-local"))
	if err != nil {
		return fmt.Errorf("connect to broker: %w", err)
	}
	s.onStop(func() error { conn.Close(); return nil })
	if s.js, err = jetstream.New(conn); err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	return nil
}

// brokerLog is the server's logger. Fatalf must not end this process.
type brokerLog struct{ *zap.SugaredLogger }

func (l brokerLog) Noticef(format string, v ...any) { l.Infof(format, v...) }
func (l brokerLog) Fatalf(format string, v ...any)  { l.Errorf(format, v...) }
func (l brokerLog) Tracef(format string, v ...any)  { l.Debugf(format, v...) }
