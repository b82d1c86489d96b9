package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// dryRun asks the providers from this process and prints the transitions that their answers
// would lead to. It stores nothing.
func (s *session) dryRun(ctx context.Context, r replaying) error {
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
	pace := newPace(r.rate)
	stopped, err := s.stopped(ctx)
	if err != nil {
		return err
	}
	for i := range s.steps(len(payments), "asking") {
		p := payments[i]
		if stopped[p.unit.Provider+"/"+p.unit.Account] {
			result.Skipped = append(result.Skipped, problem{s.name(p), "its account's circuit is open"})
			continue
		}
		if err := pace.Wait(ctx); err != nil {
			if result.Asked == 0 {
				return err
			}
			result.Problems = append(result.Problems, problem{s.name(p), notAsked(err)}) // The payments before it are printed.
			continue
		}
		result.Asked++
		made, outcome, err := s.preview(ctx, client, cfg, p)
		if errors.Is(err, provider.ErrCredential) { // As a worker does.
			stopped[p.unit.Provider+"/"+p.unit.Account] = true
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
	return s.showReplayed(result)
}

// stopped are the accounts whose circuit is not closed, as provider/account: like the
// workers, this process does not ask about them.
func (s *Deployment) stopped(ctx context.Context) (map[string]bool, error) {
	list, err := s.circuits(ctx)
	stopped := map[string]bool{}
	for _, one := range list {
		stopped[one.Provider+"/"+one.Account] = one.State != record.CircuitClosed
	}
	return stopped, err
}

// preview asks about one payment and folds the answer behind what is stored. Where the
// answer would be a dead letter, the status is the provider's word.
func (s *Deployment) preview(ctx context.Context, client *providerhttp.Client, cfg config.Lookup, p payment) (transition, order.Outcome, error) {
	known, _ := providers.All.Get(p.unit.Provider) // Known, since askable returned nil.
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
	seen.Kind = cmp.Or(seen.Kind, p.target.Kind)
	now := time.Now()
	after, outcome := before.Fold(seen, now)
	for outcome == order.Unconfirmed {
		// Assume that the confirmation agrees.
		now = after.Again(order.Standard, outcome, now)
		after, outcome = after.Fold(seen, now)
	}
	made := transition{Payment: s.name(p), Order: s.shown(cmp.Or(fact.Order, p.target.Order, p.target.Payment)), From: string(before.Status), Status: string(after.Status)}
	if outcome != order.Applied {
		made.Status = fact.ProviderStatus
	}
	return made, outcome, nil
}

func firstOf(texts ...string) string { return cmp.Or(texts...) }

// standing is a payment's standing after every stored observation.
func (s *Deployment) standing(ctx context.Context, p payment) (order.Standing, error) {
	last, err := s.lastEvent(ctx, p.unit)
	if err != nil {
		return order.Standing{}, err
	}
	from := uint64(1)
	if last != nil {
		from = last.Observation + 1
	}
	at := order.StandingOf(last)
	err = s.each(ctx, subject.Statuses, p.unit.Status(), from, func(raw *jetstream.RawStreamMsg) bool {
		var seen order.Observation
		if json.Unmarshal(raw.Data, &seen) == nil { // Else normalize skips it.
			at, _ = at.Fold(seen, raw.Time)
		}
		return true
	})
	return at, err
}
