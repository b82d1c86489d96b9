// Command gateway takes the providers' webhooks in and answers 200 once they
// are durable. Start more of it behind one address to take more in.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"time"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/process"
	"arauto/gateway/webhook"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

func main() {
	// The heap is small and turns over quickly: collecting it at twice its live
	// size takes a tenth of the processor under load. GOGC still has its say.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
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

// gcPercent keeps a gateway under full load below 100 MB.
const gcPercent = 200

// lastAnswer is how long a stop leaves for the answer to a webhook that began to
// come just before.
const lastAnswer = 3 * time.Second

// run wires the role. It does not wait for the broker or the stream: without
// them, or before what gateway.durability claims is verified, providers get a
// 503 and come again, which beats a refused connection.
func run(ctx context.Context, k *process.Kit) error {
	cfg, err := k.Config.Gateway()
	if err != nil {
		return err
	}
	tokens, err := subject.Keyed(cfg.HashKey.Reveal())
	if err != nil {
		return fmt.Errorf("read hash_key: %w", err)
	}
	watcher, err := durability.Watch(durability.Options{
		NC: k.NATS, Link: k.Link, Monitors: k.Config.NATS().Monitors, Claimed: k.Config.Durability(), Log: k.Log, Registerer: k.Registry,
	})
	if err != nil {
		return err
	}
	publisher, err := webhook.NewPublisher(k.NATS, webhook.PublisherOptions{
		Timeout: cfg.PublishTimeout, Group: watcher.SyncsEach, Up: k.Link.Up, Registerer: k.Registry,
	})
	if err != nil {
		return err
	}
	gateway, err := webhook.New(webhook.Options{
		Providers: providers.All, Credentials: credentials(providers.All, cfg), Tokens: tokens,
		Limits: limits(providers.All, cfg),
		Publisher: webhook.RequireDurability(publisher, webhook.DurabilityGate{
			Await: watcher.Await, Up: k.Link.Up, Timeout: cfg.PublishTimeout, Queue: webhook.DefaultQueue,
		}),
		Overloaded: publisher.Overloaded, StoreFailure: watcher.Unconfirmed,
		Log: k.Log, Registerer: k.Registry,
		BodyLimit: int(cfg.BodyLimit), BodyMemory: int(cfg.BodyMemory), HeaderLimit: int(cfg.HeaderLimit), MaxConnections: cfg.MaxConnections,
		TLS:         webhook.TLS{Certificate: cfg.TLS.Certificate, Key: cfg.TLS.Key},
		ReadTimeout: cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout, IdleTimeout: cfg.IdleTimeout,
		StopTimeout: cfg.ReadTimeout + cfg.PublishTimeout + lastAnswer,
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
	k.Ready("notifications", publisher.Ready)
	return serve(ctx, k, gateway, listener, watcher)
}

// serve ends with a refused configuration when it claims more than the broker
// has.
func serve(ctx context.Context, k *process.Kit, gateway *webhook.Gateway, listener net.Listener, watcher *durability.Watcher) error {
	return process.Together(ctx,
		process.Actor{Name: "webhooks", Run: func(ctx context.Context) error { return gateway.Run(ctx, listener) }},
		process.Actor{Name: "durability", Run: func(ctx context.Context) error {
			err := watcher.Run(ctx)
			if unfounded := new(durability.Unfounded); errors.As(err, &unfounded) {
				return k.Config.Refuse("gateway.durability", unfounded.Error())
			}
			return err
		}})
}

// credentials are every account's webhook secrets, or its path keys where the
// provider does not sign.
func credentials(set provider.Set, cfg config.Gateway) map[string]map[string][]string {
	all := make(map[string]map[string][]string, len(set))
	for _, p := range set {
		if p.Unsigned != "" {
			all[p.Name] = cfg.PathKeys(p.Name)
		} else {
			all[p.Name] = cfg.WebhookSecrets(p.Name)
		}
	}
	return all
}

// limits are what this gateway takes of each account.
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
