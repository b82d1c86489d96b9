package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/topology"
	"arauto/deploy/tools/bench/load"
	"arauto/schemas/providers"
)

// storeBytes is how much JetStream may store: more than any run fills.
const storeBytes = 256 << 30

// startTimeout is how long servers may take until they take connections and the topology. A
// guess, for a machine that is busy with tests.
const startTimeout = 30 * time.Second

// applyTimeout is how long one attempt to apply the topology may take. The next goes on
// where it ended. A guess.
const applyTimeout = 2 * time.Second

// brokerOptions are those of an embedded server that syncs always, without credentials and
// on free ports.
func brokerOptions(name, dir string) *server.Options {
	return &server.Options{
		ServerName: name, Host: "127.0.0.1", Port: server.RANDOM_PORT,
		HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
		JetStream: true, StoreDir: dir, JetStreamMaxStore: storeBytes,
		SyncAlways: true, NoSigs: true, NoLog: true,
	}
}

// serveBroker runs one server with the declared topology until ctx ends. It stores in the
// first folder, and stages batches in the second if there is one. It calls ready with its
// URL and that of its monitoring.
func serveBroker(ctx context.Context, dirs []string, ready func(addresses ...any) error) error {
	return serve(ctx, []*server.Options{brokerOptions("arauto-bench", dirs[0])}, func(urls, monitors string) error {
		if len(dirs) > 1 {
			if err := topology.StageBatches(filepath.Join(dirs[0], server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT), dirs[1]); err != nil {
				return err
			}
		}
		return ready(urls, monitors)
	})
}

// serveCluster runs a server for each folder, with as many replicas of each stream, until
// ctx ends. It calls ready with their URLs and those of their monitoring.
func serveCluster(ctx context.Context, dirs []string, ready func(addresses ...any) error) error {
	var members []*server.Options
	var routes []*url.URL
	for i, dir := range dirs {
		port, err := freePort()
		if err != nil {
			return err
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
		o := brokerOptions(fmt.Sprintf("arauto-bench-%d", i+1), dir)
		o.Cluster = server.ClusterOpts{Name: "arauto-bench", Host: "127.0.0.1", Port: port}
		members = append(members, o)
	}
	for _, o := range members {
		o.Routes = routes
	}
	return serve(ctx, members, func(urls, monitors string) error { return ready(urls, monitors) })
}

// freePort finds a port on which nothing listens: servers must know each other's before
// they start.
func freePort() (int, error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, fmt.Errorf("find a port: %w", err)
	}
	var port int
	if _, err := fmt.Sscanf(listener.Addr().String(), "127.0.0.1:%d", &port); err != nil {
		return 0, fmt.Errorf("read port: %w", err)
	}
	return port, listener.Close()
}

// serve runs servers until ctx ends, and calls ready with their URLs, and those of their
// monitoring, once they have the topology.
func serve(ctx context.Context, members []*server.Options, ready func(urls, monitors string) error) error {
	var servers []*server.Server
	defer func() {
		for _, s := range servers {
			s.Shutdown()
			s.WaitForShutdown()
		}
	}()
	for _, o := range members {
		s, err := server.NewServer(o)
		if err != nil {
			return fmt.Errorf("make broker: %w", err)
		}
		s.Start()
		servers = append(servers, s)
	}
	var urls, monitors []string
	for _, s := range servers {
		if !s.ReadyForConnections(startTimeout) {
			return fmt.Errorf("start broker: it is not ready after %v", startTimeout)
		}
		urls, monitors = append(urls, s.ClientURL()), append(monitors, "http://"+s.MonitorAddr().String())
	}
	if err := apply(ctx, servers); err != nil {
		return err
	}
	if err := ready(strings.Join(urls, ","), strings.Join(monitors, ",")); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// apply applies the topology, with a replica on each server. Servers that have not found a
// leader refuse it, or do not answer.
func apply(ctx context.Context, servers []*server.Server) error {
	nc, err := nats.Connect("", nats.InProcessServer(servers[0]))
	if err != nil {
		return fmt.Errorf("connect to broker: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		attempt, end := context.WithTimeout(ctx, applyTimeout)
		_, err := topology.Apply(attempt, js, topology.Settings{Replicas: len(servers), Store: storeBytes, Providers: providers.All.Names()})
		end()
		if err == nil {
			return nil
		}
		if load.Pause(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("apply topology: %w", err)
		}
	}
}
