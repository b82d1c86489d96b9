package operator

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/deploy/runtime/config"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// session is one command on one deployment.
type session struct {
	*settings
	*Deployment

	command *cobra.Command
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
	if s.person == "" {
		if system, err := user.Current(); err == nil {
			s.person = system.Username
		} else {
			s.person, _ = s.env("USER")
		}
	}
	switch {
	case s.person == "":
		return usageError{errors.New("the system does not say who is at work; write --by or set ARAUTO_BY")}
	case visible(s.person) != s.person || len(s.person) > longestName:
		return usageError{fmt.Errorf("--by is not a name of at most %d printable bytes", longestName)}
	}
	return nil
}

// load reads the configuration, and returns it with its key for hashed ids.
func (s *settings) load(roles ...string) (*config.Config, subject.Tokens, error) {
	cfg, err := config.Load(s.file, s.env, providers.All, roles...)
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
	deployment := NewDeployment(js, cfg, tokens)
	deployment.who = s.person
	return do(ctx, &session{settings: s, Deployment: deployment, command: c})
}

// scope narrows a command to a provider and an account, "" for all.
type scope struct {
	provider, account string

	erasing  bool // For forget: a reference of the provider finds nothing.
	expected bool // What is expected of a payment, and what came of it, finds it too. Without, a provider or a webhook must have named it.
}

// has reports whether an account is within the scope.
func (p scope) has(provider, account string) bool {
	return (p.provider == "" || p.provider == provider) && (p.account == "" || p.account == account)
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
