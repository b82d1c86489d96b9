package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/retry"
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

// loadMost is how many messages of each kind Load counts. A guess: they are read one by one,
// which takes a person's moment.
const loadMost = 1000

// Load is what waits for the look-ups of one account.
type Load struct {
	Ready   int  // Webhooks without an answer, and look-ups that are due.
	Parked  int  // Scheduled look-ups.
	Stopped int  // Those among them that wait for a circuit. They are brought forward when it closes.
	Least   bool // There are more than 1,000 of a kind, of which only so many are counted.
}

// Load reads what waits for the look-ups of an account.
func (s *Deployment) Load(ctx context.Context, provider, account string) (l Load, err error) {
	name := subject.LookupConsumer(provider)
	consumer, err := s.js.Consumer(ctx, subject.Notifications, name)
	if err != nil {
		return l, fmt.Errorf("read consumer %s: %w", name, err)
	}
	waiting := subject.FilterWaiting(provider, account)
	for _, place := range []struct {
		stream, filter string
		from           uint64
		count          func(*jetstream.RawStreamMsg)
	}{
		{subject.Notifications, subject.Filter(provider, account).Notification(), consumer.CachedInfo().AckFloor.Stream + 1, func(*jetstream.RawStreamMsg) { l.Ready++ }},
		{subject.LookupRetries, waiting.Due(), 1, func(*jetstream.RawStreamMsg) { l.Ready++ }},
		{subject.LookupRetries, waiting.Parked(), 1, func(raw *jetstream.RawStreamMsg) {
			l.Parked++
			var one record.ScheduledLookUp
			if json.Unmarshal(raw.Data, &one) == nil && retry.WaitsForCircuit(one) { // What does not decode waits for nothing.
				l.Stopped++
			}
		}},
	} {
		left := loadMost
		err := s.each(ctx, place.stream, place.filter, place.from, func(raw *jetstream.RawStreamMsg) bool {
			if left--; left < 0 {
				l.Least = true
				return false
			}
			place.count(raw)
			return true
		})
		if err != nil {
			return l, err
		}
	}
	return l, nil
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
