// Command gateway answers the providers' webhooks, with 200 once their notifications are
// durable. Run several behind one address for more throughput.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"time"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/process"
	"arauto/gateway/ingress"
	"arauto/gateway/publish"
	"arauto/gateway/webhook"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

func main() {
	process.CollectLess()
	process.Main(config.RoleGateway, func(ctx context.Context, k *process.Kit) error {
		cfg, err := k.Config.Gateway()
		if err != nil {
			return err
		}
		if os.Getenv("GOMEMLIMIT") == "" {
			debug.SetMemoryLimit(int64(cfg.MemoryLimit))
		}
		return run(ctx, k)
	})
}

// answerTimeout is the part of the stop timeout for writing the answer to a webhook that
// was being received when the stop began. A guess.
const answerTimeout = 3 * time.Second

// run starts the role without waiting for the broker. Until the broker is connected and
// its durability verified, providers get 503 and retry, as they might not after a refused
// connection.
func run(ctx context.Context, k *process.Kit) error {
	cfg, err := k.Config.Gateway()
	if err != nil {
		return err
	}
	watcher, err := durability.Watch(durability.Options{
		NC: k.NATS, Link: k.Link, Monitors: k.Config.NATS().Monitors, Claimed: k.Config.Durability(), Log: k.Log, Registerer: k.Registry,
	})
	if err != nil {
		return err
	}
	committer, err := publish.New(k.NATS, publish.Options{
		Timeout: cfg.PublishTimeout, GroupCommit: watcher.SyncsEach, Up: k.Link.Up, Registerer: k.Registry,
	})
	if err != nil {
		return err
	}
	gateway, err := webhook.New(webhook.Options{
		Providers: providers.All, Accounts: accounts(providers.All, cfg), Tokens: cfg.Tokens,
		Failures: webhook.FailureLimit{Rate: cfg.Failures.Rate, Burst: cfg.Failures.Burst},
		Publisher: publish.RequireDurability(committer, publish.DurabilityGate{
			Await: watcher.Await, Up: k.Link.Up, Timeout: cfg.PublishTimeout, QueueLimit: commit.DefaultQueueLimit,
		}),
		Overloaded: committer.Overloaded, StoreFailure: watcher.Unconfirmed,
		Log: k.Log, Registerer: k.Registry, Spans: k.Spans,
		Settings: settings(cfg),
	})
	if err != nil {
		return fmt.Errorf("make gateway: %w", err)
	}
	listener, err := process.Listen(config.RoleGateway, cfg.Listen)
	if err != nil {
		return err
	}
	k.Handle("GET /durability", watcher)
	k.Ready("durability", watcher.Ready)
	k.Ready("store", watcher.Stored)
	k.Ready("notifications", committer.Ready)
	return serve(ctx, k, gateway, listener, watcher)
}

// serve runs until ctx ends. A broker that does not meet gateway.durability is an error of
// the configuration.
func serve(ctx context.Context, k *process.Kit, gateway *webhook.Gateway, listener net.Listener, watcher *durability.Watcher) error {
	return process.Together(ctx,
		k.Reload(func(next *config.Config) error {
			cfg, err := next.Gateway()
			if err != nil {
				return err
			}
			return gateway.Replace(accounts(providers.All, cfg))
		}),
		process.Actor{Name: "webhooks", Run: func(ctx context.Context) error { return gateway.Run(ctx, listener) }},
		process.Actor{Name: "durability", Run: func(ctx context.Context) error {
			err := watcher.Run(ctx)
			if unfounded := new(durability.Unfounded); errors.As(err, &unfounded) {
				return k.Config.Refuse("gateway.durability", unfounded.Error())
			}
			return err
		}})
}

// settings are the limits and timeouts of the HTTP server. A stop waits as long as a
// webhook may take from its first byte to its answer.
func settings(cfg config.Gateway) ingress.Settings {
	return ingress.Settings{
		BodyLimit: int(cfg.BodyLimit), BodyMemory: int(cfg.BodyMemory), HeaderLimit: int(cfg.HeaderLimit), MaxConnections: cfg.MaxConnections,
		TLS:         ingress.TLS{Certificate: cfg.TLS.Certificate, Key: cfg.TLS.Key},
		Proxies:     ingress.Proxies{Networks: cfg.Proxies.Prefixes(), Protocol: cfg.Proxies.Protocol(), Header: cfg.Proxies.Header()},
		ReadTimeout: cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout, IdleTimeout: cfg.IdleTimeout,
		StopTimeout: cfg.ReadTimeout + cfg.PublishTimeout + answerTimeout,
	}
}

// accounts are the accounts of every provider.
func accounts(set provider.Set, cfg config.Gateway) webhook.Accounts {
	return webhook.Accounts{Credentials: credentials(set, cfg), Limits: limits(set, cfg), Access: access(set, cfg)}
}

// credentials are the webhook secrets of every account, or its path keys if the provider
// does not sign.
func credentials(set provider.Set, cfg config.Gateway) map[string]map[string][]string {
	all := make(map[string]map[string][]string, len(set))
	for _, p := range set {
		all[p.Name] = cfg.Credentials(p.Name)
	}
	return all
}

// limits are the rate limits of every account.
func limits(set provider.Set, cfg config.Gateway) map[string]map[string]webhook.Limit {
	all := make(map[string]map[string]webhook.Limit, len(set))
	for _, name := range set.Names() {
		all[name] = map[string]webhook.Limit{}
		for account, l := range cfg.Limits(name) {
			all[name][account] = webhook.Limit{Rate: l.Rate, Burst: l.Burst, Bytes: int(l.Bytes)}
		}
	}
	return all
}

// access is what clients of every account must have beside a credential.
func access(set provider.Set, cfg config.Gateway) map[string]map[string]webhook.Access {
	all := make(map[string]map[string]webhook.Access, len(set))
	for _, name := range set.Names() {
		all[name] = map[string]webhook.Access{}
		for account, a := range cfg.Access(name) {
			all[name][account] = webhook.Access{Networks: a.Networks, Authorities: a.Authorities, Names: a.Names}
		}
	}
	return all
}
