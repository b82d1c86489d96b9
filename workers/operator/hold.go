package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/deploy/runtime/topology"
	"arauto/deploy/runtime/wait"
	"arauto/schemas/subject"
)

const (
	// restChecks is how often in a row, restEvery apart, workers must be found at rest. A
	// worker that is not at rest pulls for 500 ms, with a moment between two pulls.
	restChecks, restEvery = 8, 250 * time.Millisecond
	// deliverAgain is how long consumers are resumed between two tries of a hold. A guess: a
	// worker asks for messages all the time.
	deliverAgain = time.Second
	// appearFor is how long a consumer that was restored may be missing. A guess: a cluster makes
	// it after an election at the latest.
	appearFor = 30 * time.Second
	// sameHold is how far two readings of the end of one hold may differ. The broker gives the
	// time that is left, of which the reading is a second's part. A guess.
	sameHold = 2 * time.Second
	// longestHold is how long a hold may last. A guess: webhooks fill NOTIFICATIONS meanwhile.
	longestHold = 24 * time.Hour
)

// rests reports whether a consumer is that of a role that also works unasked. While it is held
// the role pulls no messages of it once the role rests: see package hold.
func rests(consumer string) bool {
	return consumer == subject.AdvisoriesConsumer || consumer == subject.ExpectConsumer || strings.HasPrefix(consumer, subject.LookupDueConsumer(""))
}

// held is the result of hold and resume.
type held struct {
	Until *time.Time `json:"until"` // When the hold ends by itself; null for none.
}

// holdFlags is how a deployment is held.
type holdFlags struct {
	lasts   time.Duration // Until the hold ends by itself.
	longest time.Duration // For the wait until every worker rests.
	why     string        // For AUDIT, may be "".
}

// flags adds the flags of a hold.
func (h *holdFlags) flags(c *cobra.Command) {
	c.Flags().DurationVar(&h.lasts, "for", time.Hour, "when the hold ends by itself")
	c.Flags().DurationVar(&h.longest, "wait", time.Minute, "how long to wait for what workers have in hand")
	c.Flags().StringVar(&h.why, "why", "", "the `reason` of the hold, for AUDIT")
}

// check refuses a hold that would last too long, or end before it begins.
func (h *holdFlags) check() error {
	if h.lasts <= 0 || h.lasts > longestHold {
		return usageError{fmt.Errorf("--for must be more than 0 and at most %s", longestHold)}
	}
	return nil
}

func newHold(s *settings) *cobra.Command {
	var h holdFlags
	c := &cobra.Command{
		Use:   "hold",
		Short: "Let every worker rest, so that a backup is of one moment",
		Long: "Pause every consumer of the topology, and wait until no worker has anything in hand. Webhooks are stored and\n" +
			"answered 200 as ever; what they lead to waits. The hold ends with `arauto resume`, or by itself after --for.\n" +
			"The broker's user for it is backup. Exit code 1: a worker did not come to rest within --wait; nothing is held.",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := h.check(); err != nil {
				return err
			}
			return s.backingUp(c, func(ctx context.Context, s *session) error {
				until := time.Now().Add(h.lasts)
				if err := s.Hold(ctx, until, h.longest, h.why); err != nil {
					return err
				}
				return s.show(c, held{&until}, line("held until %s: back up, then arauto resume", until.Format(time.RFC3339)))
			})
		},
	}
	h.flags(c)
	return c
}

func newResume(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "resume",
		Short: "End a hold",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.backingUp(c, func(ctx context.Context, s *session) error {
				if err := s.Resume(ctx); err != nil {
					return err
				}
				return s.show(c, held{}, line("resumed"))
			})
		},
	}
}

// backingUp calls do as the broker's user backup, with the operator's name.
func (s *settings) backingUp(c *cobra.Command, do func(context.Context, *session) error) error {
	if err := s.identify(); err != nil {
		return err
	}
	return s.connectedOn(c, backupInbox, do)
}

// consumersDo calls do for every durable consumer of the topology and every leftover. Those of
// a provider may be missing: then no worker has anything of it in hand. A consumer that is made
// during a hold is not paused, by which busy finds it.
func (s *Deployment) consumersDo(do func(topology.Consumer) error) error {
	declared := s.config.Topology()
	var all []error
	for _, c := range slices.Concat(topology.Consumers(declared), topology.Leftovers(declared)) {
		if err := do(c); !ofProvider(c) || !errors.Is(err, jetstream.ErrConsumerNotFound) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// consumerNames are the names of all consumers for which consumersDo calls.
func (s *Deployment) consumerNames() (names []string) {
	_ = s.consumersDo(func(c topology.Consumer) error { names = append(names, c.Durable); return nil })
	return names
}

// present are the names of the ones that exist.
func (s *Deployment) present(ctx context.Context) (names []string, err error) {
	err = s.consumersDo(func(c topology.Consumer) error {
		_, err := s.js.Consumer(ctx, c.Stream, c.Durable)
		if err != nil {
			return fmt.Errorf("read consumer %s: %w", c.Durable, err)
		}
		names = append(names, c.Durable)
		return nil
	})
	return names, err
}

// ofProvider reports whether a consumer is for the look-ups of a provider.
func ofProvider(c topology.Consumer) bool {
	_, ok := subject.ParseLookupConsumer(c.Durable)
	return ok
}

// Hold lets every worker rest until a time, as `arauto hold` does. If a worker does not rest
// within longest, nothing is held. why is for AUDIT, and may be "".
func (s *Deployment) Hold(ctx context.Context, until time.Time, longest time.Duration, why string) error {
	what := "hold every worker until " + until.UTC().Format(time.RFC3339)
	if why != "" {
		what += ": " + why
	}
	if err := s.audit(ctx, verbHold, subject.Unit{}, "", what); err != nil {
		return err
	}
	return s.hold(ctx, until, longest)
}

// Resume ends a hold, as `arauto resume` does.
func (s *Deployment) Resume(ctx context.Context) error {
	if err := s.audit(ctx, verbResume, subject.Unit{}, "", "let every worker go on"); err != nil {
		return err
	}
	return s.resume(ctx)
}

// hold pauses every consumer and waits until the workers rest. If they do not, it resumes them,
// and after half of the time it tries once again: what was delivered to a request that had ended
// counts as in hand, and a paused consumer does not deliver it again.
func (s *Deployment) hold(ctx context.Context, until time.Time, longest time.Duration) error {
	for try := 1; ; try++ {
		err := s.pause(ctx, until, nil)
		if err == nil {
			err = s.awaitRest(ctx, longest/2)
		}
		if err == nil {
			return nil
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		failed := s.resume(undo)
		cancel()
		if failed != nil || try == 2 || !errors.Is(err, errBusy) || !wait.For(ctx, deliverAgain) {
			return errors.Join(err, failed)
		}
	}
}

// errBusy means that workers do not rest.
var errBusy = errors.New("workers do not rest")

// pause pauses every consumer. A cluster makes the consumers of a stream that was restored a
// moment after it has answered, so a consumer that was restored and is not there is awaited
// for appearFor.
func (s *Deployment) pause(ctx context.Context, until time.Time, restored []string) error {
	limit := time.Now().Add(appearFor)
	return s.consumersDo(func(c topology.Consumer) error {
		for {
			_, err := s.js.PauseConsumer(ctx, c.Stream, c.Durable, until)
			if err == nil {
				return nil
			}
			if !slices.Contains(restored, c.Durable) || !errors.Is(err, jetstream.ErrConsumerNotFound) {
				return fmt.Errorf("pause consumer %s: %w", c.Durable, err)
			}
			if time.Now().After(limit) || !wait.For(ctx, restEvery) {
				return fmt.Errorf("consumer %s was copied, and is not there", c.Durable)
			}
		}
	})
}

func (s *Deployment) resume(ctx context.Context) error {
	return s.consumersDo(func(c topology.Consumer) error {
		if _, err := s.js.ResumeConsumer(ctx, c.Stream, c.Durable); err != nil {
			return fmt.Errorf("resume consumer %s: %w", c.Durable, err)
		}
		return nil
	})
}

// awaitRest waits until no message is in a worker's hand, and no role works unasked.
func (s *Deployment) awaitRest(ctx context.Context, longest time.Duration) error {
	limit := time.Now().Add(longest)
	for rested := 0; rested < restChecks; {
		busy, err := s.busy(ctx)
		switch {
		case err != nil:
			return err
		case len(busy) == 0:
			rested++
		case time.Now().After(limit):
			return fmt.Errorf("%w within %s, tried twice: %s; a worker that was killed rests for %s, then run this again",
				errBusy, longest, strings.Join(busy, ", "), topology.AckWait)
		default:
			rested = 0
		}
		if !wait.For(ctx, restEvery) {
			return ctx.Err()
		}
	}
	return nil
}

// busy says what works although it is paused.
func (s *Deployment) busy(ctx context.Context) (busy []string, err error) {
	err = s.consumersDo(func(c topology.Consumer) error {
		durable, err := s.js.Consumer(ctx, c.Stream, c.Durable)
		if err != nil {
			return fmt.Errorf("read consumer %s: %w", c.Durable, err)
		}
		info := durable.CachedInfo()
		switch {
		case !info.Paused: // In a cluster the consumer's leader may not have heard of the pause yet.
			busy = append(busy, "consumer "+c.Durable+" is not paused")
		case info.NumAckPending > 0:
			busy = append(busy, fmt.Sprintf("%d messages of consumer %s are in hand", info.NumAckPending, c.Durable))
		case rests(c.Durable) && info.NumWaiting > 0:
			busy = append(busy, "the role of consumer "+c.Durable+" works, or is of a version that knows no hold")
		}
		return nil
	})
	return busy, err
}

// HeldUntil is when the hold ends that the deployment is under, nil without one. normalize's
// consumer tells, because nothing else pauses it.
func (s *Deployment) HeldUntil(ctx context.Context) (*time.Time, error) {
	durable, err := s.js.Consumer(ctx, subject.Statuses, subject.NormalizeConsumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil //nolint:nilnil // What is not there is not held.
	}
	if err != nil {
		return nil, fmt.Errorf("read consumer %s: %w", subject.NormalizeConsumer, err)
	}
	info := durable.CachedInfo()
	if !info.Paused {
		return nil, nil //nolint:nilnil // Not held.
	}
	until := info.TimeStamp.Add(info.PauseRemaining).Round(time.Second)
	return &until, nil
}

// ErrHeld means that a change is refused because the deployment is held.
var ErrHeld = errors.New("the deployment is held")

// SameHold reports whether two readings are of the end of one hold, or both of none.
func SameHold(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Sub(*b).Abs() < sameHold
}

// refuseHeld refuses a change while the deployment is held.
func (s *Deployment) refuseHeld(ctx context.Context) error {
	until, err := s.HeldUntil(ctx)
	if err == nil && until != nil {
		err = fmt.Errorf("%w until %s, so nothing may be changed; run arauto resume first", ErrHeld, until.Format(time.RFC3339))
	}
	return err
}
