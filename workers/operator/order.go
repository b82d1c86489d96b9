package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"arauto/workers/internal/retry"
)

func newOrder(s *settings) *cobra.Command {
	return newGroup("order", "What happened to one order or payment", newOneOrder(s.inSession, (*session).showOrder, &cobra.Command{
		Use:   "show <order|payment|reference>",
		Short: "Print its whole timeline in one list",
		Long: "Print everything that is stored about an order's payments, or about one payment, in the order of time:\n" +
			"notifications, look-ups, what is parked and until when, events, dead letters, what is expected and what came of it.\n" +
			"An order is found by its number from its first webhook on, and by the provider's reference. An expected payment\n" +
			"without a webhook is found by its order while its look-up is parked, and by its own id.",
	}))
}

func newRetry(s *settings) *cobra.Command {
	return newGroup("retry", "Parked look-ups", newOneOrder(s.changing, (*session).retryNow, &cobra.Command{
		Use:   "now <order|payment|reference>",
		Short: "Make what is parked come due now",
		Long: "Make what is parked for an order's payments, or for one payment, come due now. Attempts and first failure\n" +
			"stay, and if it fails again, this try is not counted.",
	}))
}

// newOneOrder completes a command that works on the payments of one order. in opens its
// session.
func newOneOrder(in func(*cobra.Command, func(context.Context, *session) error, ...string) error,
	do func(s *session, ctx context.Context, payments []payment) error, c *cobra.Command) *cobra.Command {
	within := scope{expected: true}
	c.Args = exactlyOne("order or payment")
	c.RunE = func(c *cobra.Command, args []string) error {
		return in(c, func(ctx context.Context, s *session) error {
			payments, err := s.find(ctx, args[0], within)
			if err != nil {
				return err
			}
			return do(s, ctx, payments)
		})
	}
	within.flags(c)
	return c
}

func (s *session) showOrder(ctx context.Context, payments []payment) error {
	entries, err := s.timeline(ctx, payments, everything())
	if err != nil {
		return err
	}
	rows := make([]string, len(entries))
	for i, e := range entries {
		rows[i] = row(e.At.Format(time.RFC3339Nano), e.Payment, e.What, e.text())
	}
	return s.show(s.command, entries, rows...)
}

// expedited is one payment of retry now.
type expedited struct {
	Payment  string `json:"payment"`
	Due      bool   `json:"due_now"` // false: no look-up was scheduled.
	Attempts int    `json:"attempts"`
}

func (s *session) retryNow(ctx context.Context, payments []payment) error {
	list := make([]expedited, 0, len(payments))
	var lines []string
	for _, p := range payments {
		one, err := s.expedite(ctx, p)
		if err != nil {
			err = fmt.Errorf("retry %s: %w", s.name(p), err)
			if len(list) > 0 { // Print what was done before the failure.
				err = errors.Join(s.show(s.command, list, lines...), err)
			}
			return err
		}
		text := line("%s: nothing is parked", one.Payment)
		if one.Due {
			text = line("%s: due now, after %d attempts", one.Payment, one.Attempts)
		}
		list, lines = append(list, one), append(lines, text)
	}
	return s.show(s.command, list, lines...)
}

func (s *Deployment) expedite(ctx context.Context, p payment) (expedited, error) {
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
	stored, err := s.retries.ScheduleOver(ctx, scheduled, retry.Expedite, parked)
	one.Due = stored.Sequence > 0
	return one, err
}
