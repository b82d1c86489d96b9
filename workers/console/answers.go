package console

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

const (
	// keptAnswers is how many of the newest observations and failures of one account are counted.
	keptAnswers = 50
	// answersAtOnce is how many observations one look reads, each with the webhook that led to it.
	answersAtOnce = 100
	// quietEvery is how often the last observation of an account is looked for that is not among
	// those: the broker compares the subjects of all its payments for that, 0.1 s for a million. A guess.
	quietEvery = 5 * time.Minute
)

// account names an account of a provider.
type account struct{ provider, name string }

// accountsOf are the accounts of a configuration.
func accountsOf(c *config.Config) (all []account) {
	for _, provider := range providers.All.Names() {
		for _, name := range c.AccountNames(provider) {
			all = append(all, account{provider, name})
		}
	}
	return all
}

// answer is what the page of the providers keeps of one observation.
type answer struct {
	of         account
	sequence   uint64 // On STATUSES, of the observation.
	at         time.Time
	class      string // Of a failed look-up, "" for an answer.
	said, word string // Words of the webhook and of the answer, "" for none.
	status     order.Status
}

// answers are the newest observations of each account.
type answers struct {
	mu     sync.Mutex
	all    map[account][]answer
	read   uint64 // On STATUSES.
	since  time.Time
	sought map[account]time.Time // When the last observation of an account was looked for.
}

// update reads the newest observations since the last call. Of many it skips the older ones, but
// not the last one of an account.
func (a *answers) update(ctx context.Context, js jetstream.JetStream, accounts []account, now time.Time) error {
	s, err := js.Stream(ctx, subject.Statuses)
	if err != nil {
		return err
	}
	notified, err := js.Stream(ctx, subject.Notifications)
	if err != nil {
		return err
	}
	info := s.CachedInfo()
	a.mu.Lock()
	read, since := a.read, a.since
	a.mu.Unlock()
	var fresh []answer
	if !info.Created.Equal(since) || info.State.LastSeq < read {
		a.reset(info.Created)
		read = 0
	}
	skipped := info.State.LastSeq > read+answersAtOnce
	if skipped {
		read = info.State.LastSeq - answersAtOnce
	}
	last := info.State.LastSeq
	if _, err = stream.Each(ctx, s, stream.All, read, func(raw *jetstream.RawStreamMsg) (bool, error) {
		if raw.Sequence > last {
			return false, nil
		}
		made, err := answersOf(ctx, raw, notified)
		fresh = append(fresh, made...)
		return raw.Sequence < last, err
	}); err != nil {
		return err
	}
	if skipped {
		quiet, err := a.quiet(ctx, s, notified, slices.DeleteFunc(accounts, func(one account) bool {
			return slices.ContainsFunc(fresh, func(f answer) bool { return f.of == one })
		}), now)
		if err != nil {
			return err
		}
		fresh = append(quiet, fresh...)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.read = last
	for _, one := range fresh {
		kept := append(a.all[one.of], one)
		a.all[one.of] = slices.Clone(kept[max(len(kept)-keptAnswers, 0):])
	}
	return nil
}

// reset forgets everything, because STATUSES was created again since the last read.
func (a *answers) reset(since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all, a.sought, a.read, a.since = map[account][]answer{}, map[account]time.Time{}, 0, since
}

// quiet reads the last observation of each account that was skipped.
func (a *answers) quiet(ctx context.Context, s, notified jetstream.Stream, accounts []account, now time.Time) (all []answer, err error) {
	for _, one := range accounts {
		if at, ok := a.sought[one]; ok && now.Sub(at) < quietEvery {
			continue
		}
		raw, err := stream.Last(ctx, s, subject.Unit{Provider: one.provider, Account: one.name, Payment: subject.Any}.Status())
		if err != nil {
			return nil, err
		}
		a.sought[one] = now
		if known := a.all[one]; raw == nil || len(known) > 0 && known[len(known)-1].sequence >= raw.Sequence {
			continue
		}
		made, err := answersOf(ctx, raw, notified)
		if err != nil {
			return nil, err
		}
		all = append(all, made...)
	}
	return all, nil
}

// answersOf are an observation and the failed look-ups before it.
func answersOf(ctx context.Context, raw *jetstream.RawStreamMsg, notified jetstream.Stream) ([]answer, error) {
	var o order.Observation
	if err := json.Unmarshal(raw.Data, &o); err != nil || o.RefusedUntil != nil {
		return nil, nil //nolint:nilerr // What does not decode is no answer; the payment's page shows it.
	}
	var all []answer
	of := account{o.Provider, o.Account}
	for _, f := range o.FailedLookUps {
		all = append(all, answer{of: of, sequence: raw.Sequence, at: f.At, class: f.Class})
	}
	one := answer{of: of, sequence: raw.Sequence, at: raw.Time, word: o.ProviderStatus, status: o.Status}
	if o.Cause == order.CauseNotification && o.Covers > 0 {
		webhook, err := stream.Next(ctx, notified, stream.All, o.Covers-1)
		if err != nil {
			return all, err
		}
		var n record.Notification
		if webhook != nil && webhook.Sequence == o.Covers && json.Unmarshal(webhook.Data, &n) == nil && n.Payment == o.Payment {
			one.said = n.Fields["status"]
		}
	}
	return append(all, one), nil
}

// seen is what was seen of one account's answers.
type seen struct {
	Answers  int
	Failed   map[string]int // By class.
	Statuses map[order.Status]int
	Agreed   int // Webhooks whose word was that of the answer.
	Differed int // Webhooks whose word was another.
	Last     time.Time
}

// of counts the answers of an account.
func (a *answers) of(one account) seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := seen{Failed: map[string]int{}, Statuses: map[order.Status]int{}}
	for _, one := range a.all[one] {
		if one.at.After(s.Last) {
			s.Last = one.at
		}
		if one.class != "" {
			s.Failed[one.class]++
			continue
		}
		s.Answers++
		s.Statuses[one.status]++
		switch {
		case one.said == "":
		case one.said == one.word:
			s.Agreed++
		default:
			s.Differed++
		}
	}
	return s
}
