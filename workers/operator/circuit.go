package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/circuit"
)

func newCircuit(s *settings) *cobra.Command {
	group := &cobra.Command{
		Use:   "circuit",
		Short: "Accounts whose look-ups are stopped",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s needs a command: list, open or close", c.CommandPath())}
		},
	}
	group.AddCommand(newCircuitList(s),
		newCircuitSet(s, "open", "Stop an account's look-ups; they are parked and no attempt counts", verbCircuitOpen, (*circuit.Store).OpenBy),
		newCircuitSet(s, "close", "Let an account's look-ups run again", verbCircuitClose, (*circuit.Store).CloseBy))
	return group
}

func newCircuitList(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List every account that was ever stopped, and how it is now",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.inSession(c, func(ctx context.Context, s *session) error {
				list, err := s.circuits(ctx)
				if err != nil {
					return err
				}
				return s.printCircuits(c.OutOrStdout(), list)
			})
		},
	}
}

func newCircuitSet(s *settings, name, short, verb string,
	set func(b *circuit.Store, ctx context.Context, provider, account, by string, at time.Time) error) *cobra.Command {
	var in scope
	c := &cobra.Command{
		Use:   name + " --provider <provider> --account <account>",
		Short: short,
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := in.check(); err != nil {
				return err
			}
			if in.provider == "" || in.account == "" {
				return usageError{errors.New("write both --provider and --account")}
			}
			return s.changing(c, func(ctx context.Context, s *session) error {
				store, err := circuit.Open(ctx, s.js)
				if err != nil {
					return err
				}
				if err := s.checkAccount(ctx, store, in, verb); err != nil {
					return err
				}
				if err := s.audit(ctx, verb, subject.Unit{Provider: in.provider, Account: in.account}, "", short); err != nil {
					return err
				}
				if err := set(store, ctx, in.provider, in.account, s.by(), time.Now()); err != nil {
					return err
				}
				return s.showCircuit(ctx, c.OutOrStdout(), store, in)
			})
		},
	}
	in.flags(c)
	return c
}

// checkAccount refuses an account that the configuration does not list. The circuit of one
// that it no longer lists may be closed, or its record would stay open for good.
func (s *session) checkAccount(ctx context.Context, store *circuit.Store, in scope, verb string) error {
	names := s.config.AccountNames(in.provider)
	if slices.Contains(names, in.account) {
		return nil
	}
	if verb == verbCircuitClose {
		list, err := store.List(ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(c record.Circuit) bool { return c.Provider == in.provider && c.Account == in.account }) {
			return nil
		}
	}
	if len(names) == 0 {
		return usageError{fmt.Errorf("the configuration has no account of %s", in.provider)}
	}
	return usageError{fmt.Errorf("--account is not one of %s", strings.Join(names, ", "))}
}

// showCircuit prints an account's circuit.
func (s *session) showCircuit(ctx context.Context, w io.Writer, store *circuit.Store, in scope) error {
	list, err := store.List(ctx)
	if err != nil {
		return err
	}
	return s.printCircuits(w, slices.DeleteFunc(list, func(c record.Circuit) bool {
		return c.Provider != in.provider || c.Account != in.account
	}))
}

func (s *session) printCircuits(w io.Writer, list []record.Circuit) error {
	if s.output == jsonOutput {
		return writeJSON(w, append([]record.Circuit{}, list...))
	}
	if len(list) == 0 {
		return printLine(w, "no account was ever stopped")
	}
	for _, one := range list {
		if err := printLine(w, fmt.Sprintf("%s/%s: %s since %s because of %s, by %s",
			one.Provider, one.Account, one.State, one.Since.Format(time.RFC3339), one.Cause, one.By)); err != nil {
			return err
		}
	}
	return nil
}
