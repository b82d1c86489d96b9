package operator

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/trace"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
)

// replaying is what a replay is to do.
type replaying struct {
	scope
	order, payment, class string
	since                 time.Duration
	rate                  float64
	wait                  time.Duration
	dry                   bool
}

func newReplay(s *settings) *cobra.Command {
	var r replaying
	c := &cobra.Command{
		Use:   "replay",
		Short: "Ask providers again",
		Long: "Ask the providers again about the chosen payments, and count the transitions that this made. Nothing is\n" +
			"published unless a payment really moved, and no attempt of a payment counts.\n" +
			"With --dry-run the providers are asked from here, nothing is stored, and the transitions are those that\n" +
			"would be made; that needs the look-up settings of the accounts.\n" +
			"Exit code 4: a look-up failed or was not answered in time; it goes on by itself.",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if r.dry {
				return s.inSession(c, func(ctx context.Context, s *session) error { return s.dryRun(ctx, r) }, config.RoleLookup)
			}
			return s.changing(c, func(ctx context.Context, s *session) error { return s.replay(ctx, r) })
		},
	}
	r.scope.flags(c)
	c.PreRunE = func(*cobra.Command, []string) error { return r.check() }
	rateFlag(c, &r.rate, "look-ups")
	c.Flags().StringVar(&r.order, "order", "", "the payments of this `order`, or of this reference of the provider")
	c.Flags().StringVar(&r.payment, "payment", "", "this `payment`")
	c.Flags().StringVar(&r.class, "class", "", "the payments of open dead letters of this `class`")
	c.Flags().DurationVar(&r.since, "since", 0, "payments notified or looked up in the last `duration`, such as 24h")
	c.Flags().DurationVar(&r.wait, "wait", 30*time.Second, "how long to wait for the answers")
	c.Flags().BoolVar(&r.dry, "dry-run", false, "ask, but store nothing")
	return c
}

func (r *replaying) check() error {
	chosen := 0
	for _, given := range []bool{r.order != "", r.payment != "", r.class != "", r.since > 0} {
		if given {
			chosen++
		}
	}
	if chosen != 1 {
		return usageError{errors.New("write one of --order, --payment, --since and --class")}
	}
	if r.wait < 0 {
		return usageError{errors.New("--wait must not be negative")}
	}
	f := letterFilter{scope: r.scope, class: r.class, state: stateOpen}
	return errors.Join(f.check(), checkRate(r.rate))
}

// transition is a transition that was made or, with --dry-run, would be.
type transition struct {
	Payment string `json:"payment"`
	Order   string `json:"order"`
	From    string `json:"from"` // "" for the first.
	Status  string `json:"status"`
}

// problem is why a payment was not looked up, or not yet.
type problem struct {
	Payment string `json:"payment"`
	Problem string `json:"problem"`
}

// replayed is the result of a replay.
type replayed struct {
	DryRun      bool         `json:"dry_run"`
	Asked       int          `json:"asked"`
	Skipped     []problem    `json:"skipped"`  // They cannot be looked up.
	Problems    []problem    `json:"problems"` // Failed, or not answered in time.
	Transitions []transition `json:"transitions"`
}

func (s *session) showReplayed(r replayed) error {
	var lines []string
	for _, p := range slices.Concat(r.Skipped, r.Problems) {
		lines = append(lines, line("%s: %s", p.Payment, p.Problem))
	}
	for _, t := range r.Transitions {
		lines = append(lines, line("%s: %s -> %s, order %s", t.Payment, word(t.From), t.Status, t.Order))
	}
	if err := s.show(s.command, r, append(lines, line("%d transitions", len(r.Transitions)))...); err != nil || len(r.Problems) == 0 {
		return err
	}
	return errPartly
}

// chosen lists the payments to look up, and the payments without a look-up.
func (s *Deployment) chosen(ctx context.Context, r replaying) ([]payment, []problem, error) {
	payments, err := s.candidates(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	skipped := []problem{}
	var askable []payment
	for _, p := range payments {
		err := s.askable(ctx, p, deadletter.Entry{})
		switch {
		case errors.Is(err, errNoLookUp):
			skipped = append(skipped, problem{s.name(p), err.Error()})
		case err != nil:
			return nil, nil, err
		default:
			askable = append(askable, p)
		}
	}
	return askable, skipped, nil
}

func (s *Deployment) candidates(ctx context.Context, r replaying) ([]payment, error) {
	switch {
	case r.order != "":
		return s.find(ctx, r.order, r.scope)
	case r.payment != "":
		units, err := s.findPayment(ctx, r.payment, r.scope)
		if err == nil && len(units) == 0 {
			err = ErrNothingKnown
		}
		if err != nil {
			return nil, err
		}
		return s.describeAll(ctx, units)
	case r.class != "":
		return s.ofLetters(ctx, r)
	}
	return s.recent(ctx, r)
}

// ofLetters lists the payments of open dead letters.
func (s *Deployment) ofLetters(ctx context.Context, r replaying) ([]payment, error) {
	letters, err := s.chooseLetters(ctx, letterFilter{scope: r.scope, class: r.class, state: stateOpen})
	if err != nil {
		return nil, err
	}
	units := map[subject.Unit]string{}
	for _, l := range letters {
		if l.Kind != "" { // Else the original does not decode.
			units[l.Unit] = l.Payment
		}
	}
	return s.describeAll(ctx, units)
}

// recent lists the payments of the newest notifications and observations.
func (s *Deployment) recent(ctx context.Context, r replaying) ([]payment, error) {
	units := map[subject.Unit]string{}
	at := s.now().Add(-r.since)
	for stream, filter := range map[string]string{
		subject.Notifications: subject.Filter(r.provider, r.account).Notification(),
		subject.Statuses:      subject.Filter(r.provider, r.account).Status(),
	} {
		from, err := s.since(ctx, stream, at)
		if err != nil {
			return nil, err
		}
		err = s.each(ctx, stream, filter, from, func(raw *jetstream.RawStreamMsg) bool {
			var named struct{ Provider, Account, Payment string } // The fields that both kinds of documents have.
			err := json.Unmarshal(raw.Data, &named)
			unit := s.tokens.Unit(named.Provider, named.Account, named.Payment)
			if err == nil && strings.HasSuffix(raw.Subject, "."+unit.String()) { // Else it has a dead letter.
				units[unit] = named.Payment
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return s.describeAll(ctx, units)
}

// describeAll describes payments, sorted by subject.
func (s *Deployment) describeAll(ctx context.Context, units map[subject.Unit]string) ([]payment, error) {
	all := make([]payment, 0, len(units))
	for unit, id := range units {
		p, err := s.describe(ctx, unit, id)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b payment) int { return strings.Compare(a.unit.String(), b.unit.String()) })
	return all, nil
}

// waitsOperator is the reason of a look-up that an operator enqueued.
const waitsOperator = string(order.CauseOperator)

// enqueue makes a look-up of a payment due now.
func (s *Deployment) enqueue(ctx context.Context, p payment) error {
	return s.retries.Schedule(ctx, retry.Enqueue, record.ScheduledLookUp{
		Provider: p.unit.Provider, Account: p.unit.Account, Kind: p.target.Kind,
		Payment: p.target.Payment, Order: p.target.Order, Fields: p.target.Fields,
		Cause: order.CauseOperator, Reason: waitsOperator, DueAt: s.now().UTC(), Trace: trace.New(),
	})
}
