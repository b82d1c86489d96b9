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
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

const (
	// nearlyFull is the fill, in percent, from which a stream that refuses
	// messages when it is full needs a person. A guess.
	nearlyFull = 80
	// parkedFull is that of LOOKUP_RETRIES: from 80 percent on look-ups are given up
	// instead of being parked. A guess.
	parkedFull = 60
	// looks is how often a consumer without a waiting pull is looked at. A worker
	// pulls anew every 500 ms (workers/internal/consume), with a moment between two pulls.
	looks, looksEvery = 5, 50 * time.Millisecond
	// idleFor is how long a consumer with messages in work may show no activity: a
	// worker that holds them acknowledges one or is given another.
	idleFor = 3 * topology.AckWait
	// flood is how many parked look-ups of one account whose payments the provider
	// does not know need a person. A guess: a provider's read side that lags behind
	// its webhooks leaves fewer.
	flood = 100
)

// needs lists what a person must see to, in sentences.
func (s *session) needs(ctx context.Context, h health) ([]string, error) {
	all := h.broken()
	letters, least, err := s.openLetters(ctx)
	if err != nil {
		return nil, err
	}
	for _, class := range slices.Sorted(maps.Keys(letters)) {
		all = append(all, fmt.Sprintf("%s%d open dead letters of class %s: arauto dead list --class %s", least, letters[class], class, class))
	}
	all = append(all, h.failing()...)
	for _, c := range h.Circuits {
		all = append(all, fmt.Sprintf("circuit %s/%s is %s since %s (%s)", c.Provider, c.Account, c.State, c.Since.Format(time.RFC3339), c.Cause))
	}
	for _, c := range h.Consumers {
		switch {
		case c.Missing:
			all = append(all, "consumer "+c.Name+" is missing: arauto topology apply")
		case c.Unworked:
			all = append(all, "no worker works on consumer "+c.Name)
		}
	}
	for _, one := range h.Streams {
		switch {
		case one.Missing:
			all = append(all, "stream "+one.Name+" is missing: arauto topology apply")
		case one.Fatal && one.Fill != nil && *one.Fill >= nearlyFull:
			all = append(all, fmt.Sprintf("stream %s is %.1f %% full, and refuses messages when it is full", one.Name, *one.Fill))
		case one.Name == subject.LookupRetries && one.Fill != nil && *one.Fill >= parkedFull:
			all = append(all, fmt.Sprintf("stream %s is %.1f %% full: from 80 %% on look-ups that fail become dead letters at once", one.Name, *one.Fill))
		}
	}
	if r := h.Durability; r.Facts != nil && !r.Unverified() && !r.Holds {
		all = append(all, "the gateway claims "+r.Claimed.String()+", which does not hold")
	}
	return all, nil
}

// broken is what the broker cannot do, as its monitoring addresses tell.
func (h health) broken() []string {
	all := []string{}
	if h.Durability.Facts != nil {
		all = append(all, h.Durability.Facts.Urgent()...)
	}
	return all
}

// failing are the providers that do not answer: paused ones, and those whose
// look-ups have failed and wait, by what they failed with. Then the accounts with
// many payments that their provider does not know.
func (h health) failing() []string {
	var all []string
	for _, c := range h.Consumers {
		if provider, ok := subject.ParseLookupConsumer(c.Name); ok && c.Paused && c.Name == subject.LookupDueConsumer(provider) {
			all = append(all, "provider "+provider+" is paused: it answers no account")
		}
	}
	for _, why := range slices.Sorted(maps.Keys(h.Parked.Failed)) {
		all = append(all, fmt.Sprintf("%d look-ups have failed and wait: %s", h.Parked.Failed[why], why))
	}
	for _, account := range slices.Sorted(maps.Keys(h.Parked.Unknown)) {
		if n := h.Parked.Unknown[account]; n >= flood {
			all = append(all, fmt.Sprintf("%d look-ups of %s wait because the provider does not know their payments: "+
				"somebody invents them, or they are another store's; see Floods in OPERATING.md", n, account))
		}
	}
	return all
}

// newestLetters is how many messages of DEAD_LETTERS are read at most: about a
// second's worth, however many there are.
const newestLetters = 5000

// openLetters counts the open dead letters by class. least is "at least " where there
// are more messages than are read.
func (s *session) openLetters(ctx context.Context) (open map[record.Class]int, least string, err error) {
	dead, err := deadletter.Open(ctx, s.js)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, "", nil // Said where the streams are listed.
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

// count adds a parked look-up to those that have failed, or whose payment the
// provider did not know.
func (p *parkedHealth) count(raw *jetstream.RawStreamMsg) {
	var one record.ScheduledLookUp
	if json.Unmarshal(raw.Data, &one) != nil {
		return
	}
	if one.NotFound > 0 {
		p.Unknown[one.Provider+"/"+one.Account]++
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

// unworked reports whether no worker pulls from a consumer. Consumers of
// providers without an account matter only when something waits for them.
func (s *session) unworked(ctx context.Context, durable jetstream.Consumer) (bool, error) {
	for look := 0; ; look++ {
		info, err := durable.Info(ctx)
		if err != nil {
			return false, fmt.Errorf("read consumer: %w", err)
		}
		if info.Paused || info.NumWaiting > 0 || info.NumAckPending > 0 && active(info) || !s.wanted(info) {
			return false, nil
		}
		if look == looks {
			return true, nil
		}
		if !wait.For(ctx, looksEvery) {
			return false, ctx.Err()
		}
	}
}

// active reports whether a consumer delivered or was acknowledged lately.
func active(info *jetstream.ConsumerInfo) bool {
	for _, last := range []*time.Time{info.Delivered.Last, info.AckFloor.Last} {
		if last != nil && info.TimeStamp.Sub(*last) < idleFor {
			return true
		}
	}
	return false
}

// wanted reports whether a worker should be there for a consumer.
func (s *session) wanted(info *jetstream.ConsumerInfo) bool {
	if info.NumPending > 0 || info.NumAckPending > 0 {
		return true
	}
	if provider, ok := subject.ParseLookupConsumer(info.Name); ok {
		return len(s.config.AccountNames(provider)) > 0
	}
	return info.Name == subject.NormalizeConsumer || info.Name == subject.AdvisoriesConsumer
}
