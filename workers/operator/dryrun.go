package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/config"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/providerhttp"
)

// dryRun asks the providers from here and says what their answers would lead
// to. It stores nothing.
func (s *session) dryRun(ctx context.Context, w io.Writer, r replaying) error {
	cfg, err := s.config.Lookup()
	if err != nil {
		return err
	}
	payments, skipped, err := s.chosen(ctx, r)
	if err != nil {
		return err
	}
	client := providerhttp.New(providerhttp.Options{Timeout: cfg.AskTimeout, AnswerLimit: int64(cfg.AnswerLimit), Connections: 2, Now: time.Now})
	defer client.Close()
	result := replayed{DryRun: true, Skipped: skipped, Problems: []problem{}, Transitions: []transition{}}
	bar, pace := newProgress(s.command.ErrOrStderr(), len(payments), "asking"), newPace(r.rate)
	shut, err := s.shut(ctx)
	if err != nil {
		return err
	}
	for _, p := range payments {
		_ = bar.Add(1) // A bar that cannot be drawn must not stop the work.
		if shut[p.unit.Provider+"/"+p.unit.Account] {
			result.Skipped = append(result.Skipped, problem{s.name(p), "its account's circuit is open"})
			continue
		}
		if err := pace.wait(ctx); err != nil {
			if result.Asked == 0 {
				return err
			}
			result.Problems = append(result.Problems, problem{s.name(p), notAsked(err)}) // What was seen before must be told.
			continue
		}
		result.Asked++
		made, outcome, err := s.foresee(ctx, client, cfg, p)
		if errors.Is(err, provider.ErrCredential) { // A worker would stop here too.
			shut[p.unit.Provider+"/"+p.unit.Account] = true
		}
		switch {
		case err != nil:
			result.Problems = append(result.Problems, problem{s.name(p), err.Error()})
		case outcome == order.Applied:
			result.Transitions = append(result.Transitions, made)
		case outcome == order.Insisted || outcome == order.Illegal || outcome == order.UnknownWord:
			result.Problems = append(result.Problems, problem{s.name(p), fmt.Sprintf("would be a dead letter: %s (%s)", made.Status, outcome)})
		}
	}
	_ = bar.Finish()
	return s.printReplayed(w, result)
}

// shut are the accounts whose circuit is not closed, as provider/account: this
// process must not go on asking where the workers have stopped.
func (s *session) shut(ctx context.Context) (map[string]bool, error) {
	list, err := s.circuits(ctx)
	shut := map[string]bool{}
	for _, one := range list {
		shut[one.Provider+"/"+one.Account] = one.State != record.CircuitClosed
	}
	return shut, err
}

// foresee asks about one payment and folds the answer behind what is stored.
// The status of an answer that would be a dead letter is the provider's word.
func (s *session) foresee(ctx context.Context, client *providerhttp.Client, cfg config.Lookup, p payment) (transition, order.Outcome, error) {
	known, _ := providers.All.Get(p.unit.Provider) // Askable made sure.
	fact, err := client.Ask(ctx, known, cfg.Accounts(p.unit.Provider)[p.unit.Account], p.target)
	var unknown *provider.UnknownWordError
	if err != nil && !errors.As(err, &unknown) {
		return transition{}, "", err
	}
	before, err := s.standing(ctx, p)
	if err != nil {
		return transition{}, "", err
	}
	seen := order.Observation{Kind: fact.Kind, Status: fact.Status, ProviderStatus: fact.ProviderStatus, Amount: fact.Amount, Confirmed: true}
	if seen.Kind == "" {
		seen.Kind = p.target.Kind
	}
	now := time.Now()
	after, outcome := before.Fold(seen, now)
	for outcome == order.Unconfirmed {
		// The next look that the fold wants would say the same.
		now = after.Again(order.Standard, outcome, now)
		after, outcome = after.Fold(seen, now)
	}
	made := transition{Payment: s.name(p), Order: s.shown(firstOf(fact.Order, p.target.Order, p.target.Payment)), From: string(before.Status), Status: string(after.Status)}
	if outcome != order.Applied {
		made.Status = fact.ProviderStatus
	}
	return made, outcome, nil
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// standing is where a payment stands after everything that is stored of it.
func (s *session) standing(ctx context.Context, p payment) (order.Standing, error) {
	last, err := s.lastEvent(ctx, p.unit)
	if err != nil {
		return order.Standing{}, err
	}
	from := uint64(1)
	if last != nil {
		from = last.Observation + 1
	}
	at := order.StandingOf(last)
	err = s.each(ctx, subject.Statuses, p.unit.Status(), from, func(raw *jetstream.RawStreamMsg) error {
		var seen order.Observation
		if json.Unmarshal(raw.Data, &seen) == nil { // Else normalize skips it, too.
			at, _ = at.Fold(seen, raw.Time)
		}
		return nil
	})
	return at, err
}
