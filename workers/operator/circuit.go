package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"arauto/schemas/record"
	"arauto/workers/internal/breaker"
)

func newCircuit(s *settings) *cobra.Command {
	return newGroup("circuit", "Accounts and hosts whose look-ups are stopped", newCircuitList(s),
		newCircuitSet(s, opening), newCircuitSet(s, closing))
}

func newCircuitList(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List every account and host that was ever stopped, and how it is now",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.inSession(c, func(ctx context.Context, s *session) error {
				list, err := s.circuits(ctx)
				if err != nil {
					return err
				}
				return s.showCircuits(list)
			})
		},
	}
}

func newCircuitSet(s *settings, change circuitChange) *cobra.Command {
	var in scope
	c := &cobra.Command{
		Use:   change.name + " --provider <provider> --account <account>",
		Short: change.short,
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if in.provider == "" || in.account == "" {
				return usageError{errors.New("write both --provider and --account")}
			}
			return s.changing(c, func(ctx context.Context, s *session) error {
				if err := s.setCircuit(ctx, change, in); err != nil {
					return err
				}
				list, err := s.circuits(ctx)
				if err != nil {
					return err
				}
				return s.showCircuits(slices.DeleteFunc(list, func(c record.Circuit) bool { return !in.is(c) }))
			})
		},
	}
	in.flags(c)
	return c
}

// checkAccount refuses an account that the configuration does not list. The circuit of an
// account that was removed from it may be closed, since its record would stay open for
// good.
func (s *Deployment) checkAccount(ctx context.Context, store *breaker.Store, in scope, verb string) error {
	names := s.config.AccountNames(in.provider)
	if slices.Contains(names, in.account) {
		return nil
	}
	if verb == verbCircuitClose {
		list, err := store.List(ctx)
		if err != nil || slices.ContainsFunc(list, in.is) {
			return err
		}
	}
	if len(names) == 0 {
		return usageError{fmt.Errorf("the configuration has no account of %s", in.provider)}
	}
	return usageError{fmt.Errorf("--account is not one of %s", strings.Join(names, ", "))}
}

// is reports whether a circuit is that of the account.
func (p scope) is(c record.Circuit) bool { return c.Provider == p.provider && c.Account == p.account }

func (s *session) showCircuits(list []record.Circuit) error {
	lines := []string{}
	for _, one := range list {
		lines = append(lines, line("%s/%s: %s since %s because of %s, by %s",
			one.Provider, one.Account, one.State, one.Since.Format(time.RFC3339), one.Cause, one.By))
	}
	if len(list) == 0 {
		lines = []string{line("no account was ever stopped")}
	}
	return s.show(s.command, append([]record.Circuit{}, list...), lines...)
}
