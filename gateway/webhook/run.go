package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Run serves ln until ctx ends. Then it stops accepting, lets the requests in
// flight finish, for the stop timeout at most, and returns nil when all of
// them had their answer. It closes ln. The connection to the broker must
// outlive it. A Gateway runs once.
func (g *Gateway) Run(ctx context.Context, ln net.Listener) error {
	l := newListener(ln, g.options.MaxConnections)
	l.evicted = g.metrics.evicted.Inc
	if g.certificate != nil {
		l.secure, l.failed = g.certificate.config(), g.refuseHandshake
		stop := g.certificate.watch(ctx)
		defer stop()
	}
	served := make(chan error, 1)
	go func() { served <- g.app.Listener(l) }()
	select {
	case err := <-served:
		return errors.Join(errors.New("webhooks are no longer served"), err, l.Close())
	case <-ctx.Done():
	}
	// A server that does not accept yet would not notice that it must stop.
	select {
	case <-l.accepting:
	case err := <-served:
		return errors.Join(err, l.Close())
	}
	return g.stop(context.WithoutCancel(ctx), l, served)
}

func (g *Gateway) stop(ctx context.Context, l *listener, served <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, g.options.StopTimeout)
	defer cancel()
	problem := g.app.ShutdownWithContext(ctx)
	if err := <-served; err != nil {
		problem = errors.Join(problem, err)
	}
	finished := make(chan struct{})
	go func() {
		l.wait.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		problem = errors.Join(problem, ctx.Err())
		l.sever()
	}
	if problem != nil {
		return fmt.Errorf("stop serving webhooks: %w", problem)
	}
	return nil
}
