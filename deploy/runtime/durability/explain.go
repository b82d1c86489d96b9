package durability

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"
)

// healthLife is how long an answer about the broker's health is reused: a worker whose
// messages all fail must not ask for each of them. A guess.
const healthLife = 5 * time.Second

// Health reports to a process that stores on other streams than NOTIFICATIONS whether the
// broker cannot write until it is restarted. It reads the monitoring addresses when it is
// called, and is safe for concurrent use.
type Health struct {
	monitors []string
	reader   *Reader

	mu    sync.Mutex // Held while asking, which monitorTimeout bounds.
	at    time.Time
	facts Facts
}

// NewHealth returns a Health that reads from the monitoring addresses of all servers.
// Without any it knows of no error.
func NewHealth(monitors []string) *Health {
	return &Health{monitors: monitors, reader: NewReader(nil, monitors)}
}

// Stored says why the broker writes nothing until it is restarted, nil while it writes
// or that cannot be seen. Of several servers half must have an error. It is a readiness
// check.
func (h *Health) Stored(ctx context.Context) error {
	f := h.look(ctx)
	if servers, _ := f.failing(); 2*len(servers) < max(len(h.monitors), 1) {
		return nil
	}
	return f.firstFailure()
}

// Explain adds to an error what Stored would say: a write that was not confirmed for
// that reason does not say it.
func (h *Health) Explain(err error) error {
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), monitorTimeout) // The caller's context may have ended.
	defer cancel()
	if why := h.look(ctx).firstFailure(); why != nil {
		return fmt.Errorf("%w (%w)", err, why)
	}
	return err
}

// look asks all servers at once, unless that was done just now.
func (h *Health) look(ctx context.Context) Facts {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.at.IsZero() && time.Since(h.at) < healthLife {
		return h.facts
	}
	servers := each(h.monitors, func(monitor string) (s Server) {
		s.Name = monitor
		if u, err := url.Parse(monitor); err == nil {
			s.Name = u.Host
		}
		s.Failed, _ = h.reader.failures(ctx, monitor) // A server that cannot be read is not counted as failed.
		return s
	})
	h.facts, h.at = Facts{Servers: servers}, time.Now()
	return h.facts
}

// firstFailure is the first write error, with what to do about it.
func (f Facts) firstFailure() error {
	for _, w := range f.failureWeaknesses() {
		return errors.New(w.String())
	}
	return nil
}
