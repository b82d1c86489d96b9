package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/topology"
	"arauto/deploy/runtime/wait"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

const (
	// nearlyFull is the fill, in percent, from which on a stream that refuses messages when it
	// is full needs a person. A guess.
	nearlyFull = 80
	// retriesFull is nearlyFull of LOOKUP_RETRIES: from 80 percent on, failed look-ups are
	// dead-lettered instead of scheduled. A guess.
	retriesFull = 60
	// pullChecks is how often a consumer without a waiting pull is read. A worker pulls every
	// 500 ms (workers/internal/consume), with a moment between two pulls.
	pullChecks, pullCheckEvery = 5, 50 * time.Millisecond
	// idleFor is how long a consumer with unacknowledged messages may show no activity. A worker
	// that holds them acknowledges one or receives another within that time.
	idleFor = 3 * topology.AckWait
	// flood is how many scheduled look-ups of one account whose payments the provider does not
	// know need a person. A guess: a provider whose look-ups lag its webhooks causes fewer.
	flood = 100
)

// needs lists what a person must do.
func (s *Deployment) needs(ctx context.Context, h Health) ([]Need, error) {
	all := h.broken()
	letters, least, err := s.openLetters(ctx)
	if err != nil {
		return nil, err
	}
	for _, class := range slices.Sorted(maps.Keys(letters)) {
		all = append(all, Need{waiting, fmt.Sprintf("%s%d open dead letters of class %s: arauto dead list --class %s", least, letters[class], class, class)})
	}
	all = append(all, h.failing()...)
	for _, c := range h.Circuits {
		all = append(all, Need{stopped, fmt.Sprintf("circuit %s/%s is %s since %s (%s)", c.Provider, c.Account, c.State, c.Since.Format(time.RFC3339), c.Cause)})
	}
	if h.HeldUntil != nil {
		all = append(all, Need{stopped, "an operator holds every worker until " + h.HeldUntil.Format(time.RFC3339) + ": when the backup is made, arauto resume"})
	}
	for _, c := range h.Consumers {
		switch {
		case c.Missing:
			all = append(all, Need{stopped, "consumer " + c.Name + " is missing: arauto topology apply"})
		case c.Unworked:
			all = append(all, Need{stopped, "no worker works on consumer " + c.Name})
		}
	}
	for _, one := range h.Streams {
		switch {
		case one.Missing:
			all = append(all, Need{one.endangers(stopped), "stream " + one.Name + " is missing: arauto topology apply"})
		case one.Fatal && one.Fill != nil && *one.Fill >= nearlyFull:
			all = append(all, Need{one.endangers(later), fmt.Sprintf("stream %s is %.1f %% full, and refuses messages when it is full", one.Name, *one.Fill)})
		case one.Name == subject.LookupRetries && one.Fill != nil && *one.Fill >= retriesFull:
			all = append(all, Need{later, fmt.Sprintf("stream %s is %.1f %% full: from 80 %% on look-ups that fail become dead letters at once", one.Name, *one.Fill)})
		}
	}
	if r := h.Durability; r.Facts != nil && !r.Unverified() && !r.Holds {
		all = append(all, Need{losing, "the gateway claims " + r.Claimed.String() + ", which does not hold"})
	}
	return all, nil
}

// broken is what the broker cannot do, by its monitoring addresses.
func (h Health) broken() (all []Need) {
	if h.Durability.Facts != nil {
		for _, one := range h.Durability.Facts.Urgent() {
			all = append(all, Need{losing, one})
		}
	}
	return all
}

// endangers is what a stream that takes no messages endangers: of NOTIFICATIONS the
// webhooks, of another what otherwise says.
func (s streamHealth) endangers(otherwise danger) danger {
	if s.Name == subject.Notifications {
		return losing
	}
	return otherwise
}

// failing are the failed look-ups by provider and error, and the
// accounts with many payments that their provider does not know.
func (h Health) failing() []Need {
	var all []Need
	for _, why := range slices.Sorted(maps.Keys(h.Parked.Failed)) {
		all = append(all, Need{waiting, fmt.Sprintf("%d look-ups have failed and wait: %s", h.Parked.Failed[why], why)})
	}
	for _, account := range slices.Sorted(maps.Keys(h.Parked.Unknown)) {
		if n := h.Parked.Unknown[account]; n >= flood {
			all = append(all, Need{waiting, fmt.Sprintf("%d look-ups of %s wait because the provider does not know their payments: "+
				"they are invented, or another store's; see Floods in OPERATING.md", n, account)})
		}
	}
	return all
}

// newestLetters is how many messages of DEAD_LETTERS are read: about a second's worth.
const newestLetters = 5000

// openLetters counts the open dead letters by class. least is "at least " if there are more
// messages than are read.
func (s *Deployment) openLetters(ctx context.Context) (open map[record.Class]int, least string, err error) {
	dead, err := deadletter.Open(ctx, s.js)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, "", nil // The missing stream is listed.
	}
	if err != nil {
		return nil, "", err
	}
	above, err := dead.Newest(ctx, newestLetters)
	if err != nil {
		return nil, "", err
	}
	if above > 0 {
		least = "at least "
	}
	letters, err := dead.LatestAbove(ctx, subject.AllDeadLetters, above)
	open = map[record.Class]int{}
	for _, l := range letters {
		if l.State == record.Open {
			open[l.Class]++
		}
	}
	return open, least, err
}

// count counts a scheduled look-up that has failed, or whose payment the provider does not
// know.
func (p *parkedHealth) count(raw *jetstream.RawStreamMsg) {
	var one record.ScheduledLookUp
	if json.Unmarshal(raw.Data, &one) != nil {
		return
	}
	account := one.Provider + "/" + one.Account
	if one.NotFound > 0 {
		p.Unknown[account]++
	}
	for _, f := range one.FailedLookUps {
		if p.Failures[account] == nil {
			p.Failures[account] = map[string]int{}
		}
		p.Failures[account][f.Class]++
	}
	if one.Attempts == 0 {
		return
	}
	why := one.Provider + ": " + one.Reason
	if n := len(one.FailedLookUps); n > 0 {
		why += ", last " + one.FailedLookUps[n-1].Error
	}
	p.Failed[why]++
}

// unworked reports whether no worker pulls from a consumer. A consumer of a provider
// without accounts needs a worker only when messages wait.
func (s *Deployment) unworked(ctx context.Context, durable jetstream.Consumer) (bool, error) {
	for check := 0; ; check++ {
		info, err := durable.Info(ctx)
		if err != nil {
			return false, fmt.Errorf("read consumer: %w", err)
		}
		if info.Paused || info.NumWaiting > 0 || info.NumAckPending > 0 && active(info) || !s.wanted(info) {
			return false, nil
		}
		if check == pullChecks {
			return true, nil
		}
		if !wait.For(ctx, pullCheckEvery) {
			return false, ctx.Err()
		}
	}
}

// hostsStopped reports whether a consumer is of a provider of which the circuits of all hosts
// are open, by which no worker pulls from it. A host that cannot be read here counts as one of
// them once another is.
func (s *Deployment) hostsStopped(consumer string, open []record.Circuit) bool {
	name, ok := subject.ParseLookupConsumer(consumer)
	if !ok {
		return false
	}
	known, _ := providers.All.Get(name)
	stopped := false
	for _, account := range s.config.AccountNames(name) {
		settings, _ := s.config.PlainSettings(name, account, withheld)
		at, asks := known.LookUpURL(provider.Account{Name: account, Settings: settings})
		switch {
		case !asks:
		case at == nil || at.Host == "":
			stopped = stopped || slices.ContainsFunc(open, func(c record.Circuit) bool { return c.Provider == name && c.OfHost() })
		case slices.ContainsFunc(open, scope{provider: name, account: record.HostScope(at.Host)}.is):
			stopped = true
		default:
			return false
		}
	}
	return stopped
}

// active reports whether a consumer delivered a message or received an ack lately.
func active(info *jetstream.ConsumerInfo) bool {
	for _, last := range []*time.Time{info.Delivered.Last, info.AckFloor.Last} {
		if last != nil && info.TimeStamp.Sub(*last) < idleFor {
			return true
		}
	}
	return false
}

// wanted reports whether a consumer needs a worker: it has messages, or its provider has
// accounts.
func (s *Deployment) wanted(info *jetstream.ConsumerInfo) bool {
	if info.NumPending > 0 || info.NumAckPending > 0 {
		return true
	}
	if provider, ok := subject.ParseLookupConsumer(info.Name); ok {
		return len(s.config.AccountNames(provider)) > 0
	}
	return info.Name == subject.NormalizeConsumer || info.Name == subject.ExpectConsumer || info.Name == subject.AdvisoriesConsumer
}
