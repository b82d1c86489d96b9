package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func newOrder(s *settings) *cobra.Command {
	group := &cobra.Command{
		Use:   "order",
		Short: "What happened to one order or payment",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s needs a command: show", c.CommandPath())}
		},
	}
	var in scope
	show := &cobra.Command{
		Use:   "show <order|payment|reference>",
		Short: "Print its whole timeline in one list",
		Long: "Print everything that is stored about an order's payments, or about one payment, in the order of time:\n" +
			"notifications, look-ups, what is parked and until when, events and dead letters.\n" +
			"An order is found by its number from its first webhook on, and by the provider's reference.",
		Args: exactlyOne("order or payment"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := in.check(); err != nil {
				return err
			}
			return s.inSession(c, func(ctx context.Context, s *session) error { return s.showOrder(ctx, c.OutOrStdout(), args[0], in) })
		},
	}
	in.flags(show)
	group.AddCommand(show)
	return group
}

// exactlyOne accepts one id. Its error does not print the arguments.
func exactlyOne(something string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return usageError{fmt.Errorf("%s takes one %s", c.CommandPath(), something)}
		}
		return nil
	}
}

func (s *session) showOrder(ctx context.Context, w io.Writer, id string, in scope) error {
	payments, err := s.find(ctx, id, in)
	if err != nil {
		return err
	}
	line, err := s.timeline(ctx, payments)
	if err != nil {
		return err
	}
	if s.output == jsonOutput {
		return writeJSON(w, line)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range line {
		_, _ = fmt.Fprint(t, row(e.At.Format(time.RFC3339Nano), e.Payment, e.What, e.text())) // Flush returns the error.
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func newRetry(s *settings) *cobra.Command {
	group := &cobra.Command{
		Use:   "retry",
		Short: "Parked look-ups",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s needs a command: now", c.CommandPath())}
		},
	}
	var in scope
	now := &cobra.Command{
		Use:   "now <order|payment|reference>",
		Short: "Make what is parked come due now",
		Long: "Make what is parked for an order's payments, or for one payment, come due now. Attempts and first failure\n" +
			"stay, and if it fails again, this try is not counted.",
		Args: exactlyOne("order or payment"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := in.check(); err != nil {
				return err
			}
			return s.changing(c, func(ctx context.Context, s *session) error { return s.retryNow(ctx, c.OutOrStdout(), args[0], in) })
		},
	}
	in.flags(now)
	group.AddCommand(now)
	return group
}

// expedited is one payment of retry now.
type expedited struct {
	Payment  string `json:"payment"`
	Due      bool   `json:"due_now"` // false: no look-up was scheduled.
	Attempts int    `json:"attempts"`
}

func (s *session) retryNow(ctx context.Context, w io.Writer, id string, in scope) error {
	payments, err := s.find(ctx, id, in)
	if err != nil {
		return err
	}
	list := make([]expedited, 0, len(payments))
	var failed error
	for _, p := range payments {
		var one expedited
		if one, failed = s.expedite(ctx, p); failed != nil {
			failed = fmt.Errorf("retry %s: %w", s.name(p), failed)
			break
		}
		list = append(list, one)
	}
	if failed != nil && len(list) == 0 {
		return failed
	}
	return errors.Join(s.printExpedited(w, list), failed) // Print what was done before it failed.
}

func (s *session) printExpedited(w io.Writer, list []expedited) error {
	if s.output == jsonOutput {
		return writeJSON(w, list)
	}
	for _, one := range list {
		text := one.Payment + ": nothing is parked"
		if one.Due {
			text = fmt.Sprintf("%s: due now, after %d attempts", one.Payment, one.Attempts)
		}
		if err := printLine(w, text); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) expedite(ctx context.Context, p payment) (expedited, error) {
	one := expedited{Payment: s.name(p)}
	scheduled, err := s.retries.Read(ctx, p.unit.Provider, p.unit.Account, p.target.Payment)
	if err != nil || scheduled.Sequence == 0 {
		return one, err
	}
	one.Attempts = scheduled.Parked.Attempts
	if err := s.audit(ctx, verbRetryNow, p.unit, "", "make the parked look-up due now"); err != nil {
		return one, err
	}
	parked := scheduled.Parked
	parked.DueAt = s.now().UTC()
	one.Due, err = s.retries.Expedite(ctx, parked)
	return one, err
}
