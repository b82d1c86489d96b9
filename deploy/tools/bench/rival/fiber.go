package rival

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/gofiber/fiber/v2"
)

// serveFiber answers when the body is stored.
func serveFiber(ctx context.Context, listener net.Listener, s *store) error {
	return fiberApp(ctx, listener, func(c *fiber.Ctx) error {
		// The body stays valid until the handler returns, so it needs no copy.
		if s.put(c.Body()) != nil {
			return c.SendStatus(http.StatusServiceUnavailable)
		}
		return c.SendString("Ok")
	})
}

// serveNothing answers at once: what Fiber itself costs.
func serveNothing(ctx context.Context, listener net.Listener, _ *store) error {
	return fiberApp(ctx, listener, func(c *fiber.Ctx) error { return c.SendString("Ok") })
}

func fiberApp(ctx context.Context, listener net.Listener, handle fiber.Handler) error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Post("/v1/picpay-checkout/notifications", handle)
	served := make(chan error, 1)
	go func() { served <- app.Listener(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	if err := app.Shutdown(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return <-served
}
