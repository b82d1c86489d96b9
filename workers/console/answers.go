package console

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

const (
	// newestAnswers is how many of the newest observations are counted.
	newestAnswers = 500
	// answersAtOnce is how many of them one look reads, each with the webhook that led to it.
	answersAtOnce = 100
)

// answer is what the page of the providers keeps of one observation.
type answer struct {
	at                time.Time
	provider, account string
	class             string // Of a failed look-up, "" for an answer.
	said, word        string // Words of the webhook and of the answer, "" for none.
	status            order.Status
}

// answers are the newest observations.
type answers struct {
	mu    sync.Mutex
	all   []answer
	read  uint64 // On STATUSES.
	since time.Time
}

// update reads the newest observations since the last call. Of many it skips the older ones.
func (a *answers) update(ctx context.Context, js jetstream.JetStream) error {
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
		read = 0
	}
	if info.State.LastSeq > read+answersAtOnce {
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
	a.mu.Lock()
	defer a.mu.Unlock()
	if !info.Created.Equal(since) {
		a.all = nil
	}
	a.all, a.read, a.since = append(a.all, fresh...), last, info.Created
	if len(a.all) > newestAnswers {
		a.all = append([]answer(nil), a.all[len(a.all)-newestAnswers:]...)
	}
	return nil
}

// answersOf are an observation and the failed look-ups before it.
func answersOf(ctx context.Context, raw *jetstream.RawStreamMsg, notified jetstream.Stream) ([]answer, error) {
	var o order.Observation
	if err := json.Unmarshal(raw.Data, &o); err != nil || o.RefusedUntil != nil {
		return nil, nil //nolint:nilerr // What does not decode is no answer; the payment's page shows it.
	}
	var all []answer
	for _, f := range o.FailedLookUps {
		all = append(all, answer{at: f.At, provider: o.Provider, account: o.Account, class: f.Class})
	}
	one := answer{at: raw.Time, provider: o.Provider, account: o.Account, word: o.ProviderStatus, status: o.Status}
	if o.Cause == order.CauseNotification && o.Covers > 0 {
		of, err := stream.Next(ctx, notified, stream.All, o.Covers-1)
		if err != nil {
			return all, err
		}
		var n record.Notification
		if of != nil && of.Sequence == o.Covers && json.Unmarshal(of.Data, &n) == nil && n.Payment == o.Payment {
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
func (a *answers) of(provider, account string) seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := seen{Failed: map[string]int{}, Statuses: map[order.Status]int{}}
	for _, one := range a.all {
		if one.provider != provider || one.account != account {
			continue
		}
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
