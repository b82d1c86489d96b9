package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/stream"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/orderindex"
	"arauto/workers/internal/retry"
)

// session is one command on one deployment.
type session struct {
	*settings
	command     *cobra.Command
	config      *config.Config
	js          jetstream.JetStream
	tokens      subject.Tokens
	observed    *observations.Store
	retries     *retry.Store
	deadLetters *deadletter.Store
	orders      *orderindex.Index
	streams     map[string]jetstream.Stream
	ahead       time.Duration // Broker's clock minus this machine's.
}

// inSession calls do with the deployment of the configuration. roles are the roles whose
// secrets the command needs too.
func (s *settings) inSession(c *cobra.Command, do func(context.Context, *session) error, roles ...string) error {
	return s.connected(c, func(ctx context.Context, open *session) error {
		if err := open.bind(ctx); err != nil {
			return err
		}
		return do(ctx, open)
	}, roles...)
}

// changing is inSession for a command that changes something. It needs the operator's name.
func (s *settings) changing(c *cobra.Command, do func(context.Context, *session) error, roles ...string) error {
	if err := s.identify(); err != nil {
		return err
	}
	return s.inSession(c, func(ctx context.Context, s *session) error {
		if err := s.refuseHeld(ctx); err != nil {
			return err
		}
		return do(ctx, s)
	}, roles...)
}

// longestName is the longest operator's name, in bytes. A guess.
const longestName = 100

// identify reads the operator's name from the system if no flag names it. An image without
// users has none.
func (s *settings) identify() error {
	if s.who == "" {
		if system, err := user.Current(); err == nil {
			s.who = system.Username
		} else {
			s.who, _ = s.env("USER")
		}
	}
	switch {
	case s.who == "":
		return usageError{errors.New("the system does not say who is at work; write --by or set ARAUTO_BY")}
	case visible(s.who) != s.who || len(s.who) > longestName:
		return usageError{fmt.Errorf("--by is not a name of at most %d printable bytes", longestName)}
	}
	return nil
}

// load reads the configuration, and returns it with its key for hashed ids.
func (s *settings) load(roles ...string) (*config.Config, subject.Tokens, error) {
	cfg, err := config.Load(s.config, s.env, providers.All, roles...)
	if err != nil {
		return nil, subject.Tokens{}, err
	}
	tokens, err := cfg.Tokens()
	return cfg, tokens, err
}

// connected is inSession for a command that needs no stream.
func (s *settings) connected(c *cobra.Command, do func(context.Context, *session) error, roles ...string) error {
	return s.connectedOn(c, operatorInbox, do, roles...)
}

// connectedOn is connected with the inbox of another user at the broker.
func (s *settings) connectedOn(c *cobra.Command, inbox string, do func(context.Context, *session) error, roles ...string) error {
	ctx := c.Context()
	cfg, tokens, err := s.load(roles...)
	if err != nil {
		return err
	}
	conn, err := connect(ctx, cfg.NATS(), inbox)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	return do(ctx, &session{settings: s, command: c, config: cfg, js: js, tokens: tokens, streams: map[string]jetstream.Stream{}})
}

// readable are the streams that this command may read.
var readable = []string{subject.Notifications, subject.LookupRetries, subject.Statuses, subject.Orders, subject.DeadLetters, subject.OrderPayments, subject.Expectations, subject.Outcomes}

// bind opens the streams.
func (s *session) bind(ctx context.Context) error {
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
func (s *session) now() time.Time { return time.Now().Add(s.ahead) }

// host is the name of this machine.
func host() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// by is the operator as user@host.
func (s *session) by() string { return s.who + "@" + host() }

// each calls visit for every message of a stream on filter, from a sequence on, while
// visit returns true.
func (s *session) each(ctx context.Context, name, filter string, from uint64, visit func(*jetstream.RawStreamMsg) (more bool)) error {
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
func (s *session) since(ctx context.Context, name string, at time.Time) (uint64, error) {
	info, err := s.streams[name].Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read state of %s: %w", name, err)
	}
	return stream.Since(ctx, s.streams[name], at, info.State.LastSeq+1)
}

// scope narrows a command to a provider and an account, "" for all.
type scope struct {
	provider, account string

	erasing bool // For forget: what is expected, and what came of it, is searched, and a reference of the provider finds nothing.
}

// flags adds the flags of the scope, which are checked before the command runs.
func (p *scope) flags(c *cobra.Command) {
	c.PreRunE = func(*cobra.Command, []string) error { return p.check() }
	c.Flags().StringVar(&p.provider, "provider", "", "only this `provider`")
	c.Flags().StringVar(&p.account, "account", "", "only this `account`")
}

func (p *scope) check() error {
	if _, ok := providers.All.Get(p.provider); p.provider != "" && !ok {
		return usageError{fmt.Errorf("--provider is not one of %s", strings.Join(providers.All.Names(), ", "))}
	}
	if strings.ContainsAny(p.account, ".*> \t\r\n") {
		return usageError{errors.New("--account is not an account name")}
	}
	return nil
}
