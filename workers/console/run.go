// Package console is the role that shows people what is true about payments, and lets them
// act on it. Its pages show what `arauto` prints, and its actions are those of `arauto`, by
// the same functions.
package console

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/net/netutil"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/schemas/subject"
	"arauto/workers/console/access"
	"arauto/workers/console/index"
)

// Bounds of the server. All are guesses: pages are small, and a browser keeps few connections.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 15 * time.Second
	writeTimeout  = 40 * time.Second // After the header, so with the body, the work for the page, and 10 s for its bytes. Event streams have it for each tick.
	idleTimeout   = 2 * time.Minute
	longestHeader = 16 << 10
	closeTimeout  = 3 * time.Second
	// maxConnections is how many connections are open at a time; further ones wait in the queue
	// of the socket. It is twice what open pages may have, and some.
	maxConnections = 512
)

// newServer is the server of the pages.
func newServer(pages http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler: pages, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: longestHeader, ErrorLog: zap.NewStdLog(log),
	}
}

// serve serves the pages until ctx ends, or the listener fails.
func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(netutil.LimitListener(listener, maxConnections)) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve pages: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if server.Shutdown(closing) != nil {
		_ = server.Close() // A page that is still read is cut off.
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve pages: %w", err)
	}
	return nil
}

// Run runs the role until ctx ends: the watch over the broker, the index of payments, and
// the pages.
func Run(ctx context.Context, k *process.Kit) error {
	cfg, err := k.Config.Console()
	if err != nil {
		return err
	}
	listener, err := process.Listen("console", cfg.Listen)
	if err != nil {
		return err
	}
	k.OnStop("console listener", func(context.Context) error {
		_ = listener.Close() // The server has closed it unless it never began.
		return nil
	})
	payments, err := index.Open(cfg.Index, cfg.Tokens)
	if err != nil {
		return err
	}
	if payments.Rebuilt() {
		k.Log.Warn("index.reset", zap.String("cause", "the file was damaged, not closed, or of another version"))
	}
	k.OnStop("index", func(context.Context) error { return payments.Close() })
	settings, err := admitted(cfg)
	if err != nil {
		return err
	}
	who, err := access.New(settings, k.Log, k.Registry)
	if err != nil {
		return err
	}
	acts, err := acting(k, cfg)
	if err != nil {
		return err
	}
	site, err := newSite(Options{
		Config: k.Current, Tokens: cfg.Tokens, JS: k.JS, Index: payments, Log: k.Log, Now: time.Now,
		Acts: acts, LogsIn: who.LogsIn, RemoveAfter: cfg.Removed,
	})
	if err != nil {
		return err
	}
	k.Registry.MustRegister(site.ages()...)
	server := newServer(who.Handler(site.handler()), k.Log)
	k.Ready("broker", func(ctx context.Context) error {
		_, err := k.JS.Stream(ctx, subject.Orders)
		return err
	})
	return process.Together(ctx,
		k.Reload(func(next *config.Config) error { // The pages read the one in use.
			cfg, err := next.Console()
			if err != nil {
				return err
			}
			settings, err := admitted(cfg)
			if err != nil {
				return err
			}
			return who.Replace(settings)
		}),
		process.Actor{Name: "watch", Run: site.watch.run},
		process.Actor{Name: "job", Run: site.jobs.run},
		process.Actor{Name: "index", Run: site.follow.run},
		process.Actor{Name: "pages", Run: func(ctx context.Context) error {
			return serve(ctx, server, listener)
		}})
}

// admitted are the settings of who may use the pages.
func admitted(cfg config.Console) (access.Settings, error) {
	settings, err := access.Configured(cfg)
	settings.Assets, settings.Streams = "/static/", livePath
	return settings, err
}

// operatorInbox is the only inbox that the user operator may subscribe to.
const operatorInbox = "_INBOX_operator"

// acting connects as the user of the operator's command, by which pages act, or returns nil if
// the configuration has no password of that user. A broker without users, which only one on
// this machine is, has one user for everything.
func acting(k *process.Kit, cfg config.Console) (jetstream.JetStream, error) {
	at := k.Config.NATS()
	switch {
	case !cfg.Acts.Empty():
		at.User, at.Password, at.CredentialsFile, at.NKeyFile = cfg.Operator, cfg.Acts, "", ""
	case k.Config.Local() && at.User == "" && at.CredentialsFile == "" && at.NKeyFile == "" && at.CertificateFile == "":
		return k.JS, nil
	default:
		return nil, nil
	}
	conn, err := nats.Connect(at.URL, append(at.Login(), nats.Name("arauto-console-operator"), nats.CustomInboxPrefix(operatorInbox),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort())...)
	if err != nil {
		return nil, fmt.Errorf("connect to broker to act: %w", err)
	}
	k.OnStop("operator's connection", func(context.Context) error {
		conn.Close()
		return nil
	})
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	return js, nil
}
