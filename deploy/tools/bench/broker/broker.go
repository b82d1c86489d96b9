// Package broker runs the broker that is measured: an embedded nats-server in
// a process of its own, with the declared topology and nothing else.
package broker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/topology"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// Store is how many bytes JetStream may use. It is more than any run fills,
// and disk is taken only as it fills.
const Store = 256 << 30

// Sync policies.
const (
	SyncAlways = "always"  // A confirmed write is on disk.
	SyncLazy   = "default" // A confirmed write is in the page cache; the disk has it within two minutes.
)

// startPatience is how long the broker may take until it is ready.
const startPatience = 30 * time.Second

// Options are where a broker keeps things, and when they are safe there.
type Options struct {
	Dir   string // Its store.
	Stage string // An empty folder where it stages batches; "" for beside the stream, as it does by itself.
	Sync  string // Sync policy.
}

// Serve runs a broker without credentials on a free port of this machine until
// ctx ends. It calls ready with its URL and its monitoring address when the
// topology stands.
func Serve(ctx context.Context, o Options, ready func(url, monitor string) error) error {
	if o.Sync != SyncAlways && o.Sync != SyncLazy {
		return fmt.Errorf("sync policy is %q; write %s or %s", o.Sync, SyncAlways, SyncLazy)
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "arauto-bench", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
		JetStream: true, StoreDir: o.Dir, JetStreamMaxStore: Store,
		SyncAlways: o.Sync == SyncAlways, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return fmt.Errorf("make broker: %w", err)
	}
	srv.Start()
	defer func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	if !srv.ReadyForConnections(startPatience) {
		return fmt.Errorf("start broker: it is not ready after %v", startPatience)
	}
	if err := apply(ctx, srv); err != nil {
		return err
	}
	if err := stage(o); err != nil {
		return err
	}
	if err := ready(srv.ClientURL(), "http://"+srv.MonitorAddr().String()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// stage has batches staged elsewhere. What an operator mounts is a link here,
// which needs no rights: the broker would only remove it when it starts again.
func stage(o Options) error {
	if o.Stage == "" {
		return nil
	}
	stream := filepath.Join(o.Dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams", subject.Notifications)
	if err := os.Symlink(o.Stage, filepath.Join(stream, "batches")); err != nil {
		return fmt.Errorf("stage batches elsewhere: %w", err)
	}
	return nil
}

// apply declares the streams and consumers, over a connection that is closed
// again.
func apply(ctx context.Context, srv *server.Server) error {
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return fmt.Errorf("connect to broker: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	if _, err := topology.Apply(ctx, js, topology.Settings{Replicas: 1, Store: Store, Providers: providers.All.Names()}); err != nil {
		return fmt.Errorf("apply topology: %w", err)
	}
	return nil
}
