package operator

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/stream"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/orderindex"
	"arauto/workers/internal/retry"
)

// Deployment is a deployment at its broker: what a command and a page of the console show,
// and what they do. It is for one goroutine at a time.
type Deployment struct {
	config      *config.Config
	js          jetstream.JetStream
	tokens      subject.Tokens
	observed    *observations.Store
	retries     *retry.Store
	deadLetters *deadletter.Store
	orders      *orderindex.Index
	streams     map[string]jetstream.Stream
	ahead       time.Duration // Broker's clock minus this machine's.
	who         string        // The operator's name, for AUDIT and marks.
	reason      string        // Why dead letters are discarded by this command, "" for none.
}

// NewDeployment makes a deployment whose streams are not opened yet, which Health and Doctor
// need not.
func NewDeployment(js jetstream.JetStream, cfg *config.Config, tokens subject.Tokens) *Deployment {
	return &Deployment{config: cfg, js: js, tokens: tokens, streams: map[string]jetstream.Stream{}}
}

// Open is NewDeployment with opened streams. who is the name of the person at work for AUDIT,
// "" for what changes nothing.
func Open(ctx context.Context, js jetstream.JetStream, cfg *config.Config, tokens subject.Tokens, who string) (*Deployment, error) {
	d := NewDeployment(js, cfg, tokens)
	d.who = who
	return d, d.bind(ctx)
}

// readable are the streams that this command may read.
var readable = []string{subject.Notifications, subject.LookupRetries, subject.Statuses, subject.Orders, subject.DeadLetters, subject.OrderPayments, subject.Expectations, subject.Outcomes}

// bind opens the streams.
func (s *Deployment) bind(ctx context.Context) error {
	var err error
	for _, name := range readable {
		if s.streams[name], err = s.js.Stream(ctx, name); err != nil {
			return fmt.Errorf("open stream %s: %w", name, err)
		}
	}
	s.ahead = time.Until(s.streams[subject.DeadLetters].CachedInfo().TimeStamp)
	if s.observed, err = observations.Open(ctx, s.js); err != nil {
		return err
	}
	if s.retries, err = retry.Open(ctx, s.js, s.tokens); err != nil {
		return err
	}
	if s.deadLetters, err = deadletter.Open(ctx, s.js); err != nil {
		return err
	}
	s.orders, err = orderindex.Open(ctx, s.js, s.tokens)
	return err
}

// now is the time by the broker's clock, a round trip late at most. A look-up that is
// due by this machine's clock might wait until the two agree.
func (s *Deployment) now() time.Time { return time.Now().Add(s.ahead) }

// host is the name of this machine.
func host() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// by is the operator as user@host.
func (s *Deployment) by() string { return s.who + "@" + host() }

// each calls visit for every message of a stream on filter, from a sequence on, while
// visit returns true.
func (s *Deployment) each(ctx context.Context, name, filter string, from uint64, visit func(*jetstream.RawStreamMsg) (more bool)) error {
	_, err := stream.Each(ctx, s.streams[name], filter, max(from, 1)-1, func(raw *jetstream.RawStreamMsg) (bool, error) {
		return visit(raw), nil
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// since is the sequence of a stream's first message that was stored at or after the given
// time.
func (s *Deployment) since(ctx context.Context, name string, at time.Time) (uint64, error) {
	info, err := s.streams[name].Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read state of %s: %w", name, err)
	}
	return stream.Since(ctx, s.streams[name], at, info.State.LastSeq+1)
}
