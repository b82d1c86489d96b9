package rival

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// bodyLimit bounds a body, as in the gateway.
const bodyLimit = 256 << 10

// serveHTTP answers when the body is stored.
func serveHTTP(ctx context.Context, listener net.Listener, s *store) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/picpay-checkout/notifications", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
		if err != nil || s.put(body) != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "Ok") // The caller has gone if it fails.
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	if err := errors.Join(server.Close(), ignoreClosed(<-served)); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
