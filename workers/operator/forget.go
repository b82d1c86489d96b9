package operator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/topology"
	"arauto/deploy/runtime/wait"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/internal/forgotten"
	"arauto/workers/internal/observations"
)

// holding is a stream that holds messages about payments, and the filters of those about one.
type holding struct {
	stream  string
	filters func(u subject.Unit, w subject.Waiting) []string
	names   func(body []byte, u subject.Unit, id string) bool // Which of the messages are about it; nil for all.
}

// holdings are the streams that forget erases a payment from, in its order: first what would
// have the provider asked about the payment. A test wants each declared stream here or in kept.
var holdings = []holding{
	{stream: subject.Expectations, filters: func(u subject.Unit, _ subject.Waiting) []string { return []string{u.Expected()} }},
	{stream: subject.LookupRetries, filters: func(_ subject.Unit, w subject.Waiting) []string { return []string{w.Parked(), w.Due()} }},
	{stream: subject.Notifications, filters: func(u subject.Unit, _ subject.Waiting) []string { return []string{u.Notification()} }},
	{stream: subject.Orders, filters: func(u subject.Unit, _ subject.Waiting) []string { return []string{u.Events()} }},
	{stream: subject.OrderPayments, filters: func(u subject.Unit, _ subject.Waiting) []string { return []string{u.OfOrder(subject.Any)} }},
	{stream: subject.DeadLetters, filters: func(u subject.Unit, _ subject.Waiting) []string {
		return []string{u.DeadLetter(subject.Any, subject.Any)}
	}},
	{stream: subject.Outcomes, filters: func(u subject.Unit, _ subject.Waiting) []string { return []string{u.Outcomes()} }},
	{stream: subject.Outcomes, filters: func(subject.Unit, subject.Waiting) []string { return []string{pairs} }, names: namesOther},
	{stream: subject.Statuses, filters: func(u subject.Unit, _ subject.Waiting) []string { return []string{u.Status()} }},
}

// pairs is the filter of the outcomes that name another payment, which are few.
var pairs = subject.Filter("", "").Outcome(string(expectation.PaidTwice))

// namesOther reports whether an outcome names a payment as the other one of its order.
func namesOther(body []byte, u subject.Unit, id string) bool {
	o, err := expectation.ReadOutcome(body)
	return err == nil && o.Other != nil && *o.Other == expectation.Payment{Provider: u.Provider, Account: u.Account, Payment: id}
}

// kept are the streams that forget erases nothing from, each with its reason.
var kept = map[string]string{
	subject.Audit:      "it says what operators did, for as long as the law may ask; a payment is in it as a subject token, and forget writes a hash",
	subject.Advisories: "an advisory names a stream, a consumer and a sequence",
	subject.Circuits:   "a circuit is about an account or a host",
	subject.Leases:     "a lease is about a worker",
	subject.Forgotten:  "it is how the next event of the payment is known to begin a log, and names the payment by a keyed hash only",
}

// forgetting is what forget is to do.
type forgetting struct {
	scope
	id   string
	yes  bool
	wait time.Duration
}

func newForget(s *settings) *cobra.Command {
	f := forgetting{scope: scope{erasing: true, expected: true}}
	c := &cobra.Command{
		Use:   "forget <payment|order>",
		Short: "Erase a payment, or all payments of an order, everywhere",
		Long: "Erase everything that is stored about a payment, or about all payments of an order. Without --yes it only\n" +
			"says what it would erase. For an hour what is said of the payment is then dropped; after that a webhook\n" +
			"begins a log whose first event says restarted. Run it again after the hour: that removes the mark by which\n" +
			"the payment was refused. The broker's user for it is forget.\n" +
			"Exit code 4: not everything is erased or certain; the output says what is left, and the same command goes on.",
		Args: exactlyOne("payment or order"),
		RunE: func(c *cobra.Command, args []string) error {
			f.id = args[0]
			if f.wait < 0 {
				return usageError{errors.New("--wait must not be negative")}
			}
			if f.yes {
				if err := s.identify(); err != nil {
					return err
				}
			}
			return s.connectedOn(c, forgetInbox, func(ctx context.Context, s *session) error {
				if err := s.bind(ctx); err != nil {
					return err
				}
				if f.yes {
					if err := s.refuseHeld(ctx); err != nil {
						return err
					}
				}
				return s.forget(ctx, f)
			})
		},
	}
	f.scope.flags(c)
	c.Flags().BoolVar(&f.yes, "yes", false, "erase; without it nothing is changed")
	c.Flags().DurationVar(&f.wait, "wait", time.Minute, "how long to wait for what workers have in hand")
	return c
}

// erased is the result of forget for one payment.
type erased struct {
	Payment      string         `json:"payment"`
	Messages     map[string]int `json:"messages"` // By stream.
	RefusedUntil *time.Time     `json:"refused_until,omitempty"`
	Problem      string         `json:"problem,omitempty"` // What is left to do.

	did string // "erased", or "would erase".
}

// forget erases payments one after the other. What it changes is in the order in which a
// crash between any two steps leaves nothing worse than a part that the next run erases:
// the entry on AUDIT, the record on FORGOTTEN, what is scheduled, the mark on STATUSES, and
// when no worker has a message of the payment in hand any more, everything.
//
// What is on its way when the mark is written ends so:
//  1. A webhook at the gateway is stored, and dropped by lookup, which reads the payment's last
//     observation, the mark, before it asks.
//  2. An answer in the hand of lookup is refused by the broker, because it is not behind the
//     mark. lookup reads again, and drops it. A recheck or retry that it has scheduled is
//     dropped when it is due, however late: it was told before the refusal ended.
//  3. An observation in the hand of normalize may become an event, and a failed look-up in
//     the hand of lookup a dead letter. So ORDERS and DEAD_LETTERS are erased when both have
//     acknowledged what they had before the mark.
//  4. sweep reads the payment's last event before it schedules a look-up. What it had read
//     before is a look-up that is dropped when it is due.
//  5. A worker that was frozen in 3 for longer than its ack wait, after which another one has
//     acknowledged its message, can still write what it had in hand. The next run erases it.
//  6. expect has no consumer of what is expected: it reads the mark before it publishes an
//     outcome. If it was frozen between the two, the next run erases the outcome.
func (s *session) forget(ctx context.Context, f forgetting) error {
	for _, h := range holdings {
		var err error
		if s.streams[h.stream], err = s.js.Stream(ctx, h.stream); err != nil {
			return fmt.Errorf("open stream %s: %w", h.stream, err)
		}
	}
	payments, unread, err := s.findWithin(ctx, f.id, f.scope, searchAll)
	if err != nil {
		return err
	}
	left := false
	var results []erased
	var lines []string
	for i := range s.steps(len(payments), "erasing") {
		p := payments[i]
		one := erased{Payment: s.name(p), did: "would erase"}
		if f.yes {
			one.did = "erased"
			err = s.erase(ctx, p, f.wait, &one)
		} else {
			one.Messages, err = s.held(ctx, p)
		}
		if err != nil {
			one.Problem = err.Error()
			left = true
		}
		results = append(results, one)
		lines = append(lines, one.lines()...)
	}
	if unread {
		lines = append(lines, line("only the newest %d messages of each stream were searched for other payments of the order", searchAll))
	}
	if !f.yes {
		lines = append(lines, line("nothing was changed; write --yes to erase"))
	}
	if err := s.show(s.command, results, lines...); err != nil || !left {
		return err
	}
	return errPartly
}

func (e erased) lines() []string {
	var counts []string
	for _, name := range slices.Sorted(maps.Keys(e.Messages)) {
		counts = append(counts, fmt.Sprintf("%d of %s", e.Messages[name], name))
	}
	if len(counts) == 0 {
		counts = []string{"nothing"}
	}
	all := []string{line("%s: %s %s", e.Payment, e.did, strings.Join(counts, ", "))}
	if e.RefusedUntil != nil {
		all = append(all, line("%s: refused until %s; run this again after that", e.Payment, e.RefusedUntil.Format(time.RFC3339)))
	}
	if e.Problem != "" {
		all = append(all, line("%s: %s", e.Payment, e.Problem))
	}
	return all
}

// held counts the messages about a payment.
func (s *Deployment) held(ctx context.Context, p payment) (map[string]int, error) {
	counts := map[string]int{}
	for _, h := range holdings {
		all, err := s.sequences(ctx, h, p)
		if err != nil {
			return counts, err
		}
		if len(all) > 0 {
			counts[h.stream] += len(all)
		}
	}
	return counts, nil
}

// message is a stored message about a payment.
type message struct {
	sequence uint64
	stored   time.Time
}

// sequences lists the messages of a stream about a payment, in order.
func (s *Deployment) sequences(ctx context.Context, h holding, p payment) (all []message, err error) {
	waiting := s.tokens.Waiting(p.unit.Provider, p.unit.Account, p.target.Payment)
	for _, filter := range h.filters(p.unit, waiting) {
		err := stream.EachFew(ctx, s.streams[h.stream], filter, 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
			if h.names == nil || h.names(raw.Data, p.unit, p.target.Payment) {
				all = append(all, message{raw.Sequence, raw.Time})
			}
			return true, nil
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", h.stream, err)
		}
	}
	return all, nil
}

// erase erases a payment, or finishes what an earlier run began more than an hour ago.
func (s *Deployment) erase(ctx context.Context, p payment, within time.Duration, result *erased) error {
	result.Messages = map[string]int{}
	last, err := s.observed.Last(ctx, p.unit)
	if err != nil {
		return err
	}
	hash := s.tokens.Hash(p.target.Payment)
	if err := s.audit(ctx, verbForget, subject.Unit{Provider: p.unit.Provider, Account: p.unit.Account, Payment: hash}, "",
		"erase everything about a payment, which is named here by its keyed hash"); err != nil {
		return err
	}
	if until := last.Observation.RefusedUntil; until != nil && !s.now().Before(*until) {
		log, err := observations.OrderLog(ctx, s.streams[subject.Orders], p.unit)
		if err != nil {
			return err
		}
		if log.Sequence == 0 || log.Stored.Before(*until) {
			return s.eraseAll(ctx, p, 0, *until, result)
		}
	}
	store, err := forgotten.Open(ctx, s.js, s.tokens)
	if err != nil {
		return err
	}
	if err := store.Note(ctx, p.unit.Provider, p.unit.Account, p.target.Payment, s.now()); err != nil {
		return err
	}
	for _, h := range holdings[:2] {
		if err := s.eraseFrom(ctx, h, p, 0, time.Time{}, result); err != nil {
			return err
		}
	}
	mark, until, err := s.mark(ctx, p, last)
	if err != nil {
		return err
	}
	result.RefusedUntil = &until
	inHand := s.awaitWorkers(ctx, p, mark, within)
	if err := s.eraseAll(ctx, p, mark, time.Time{}, result); err != nil {
		return err
	}
	return inHand
}

// mark appends the mark of an erased payment behind its last observation. From then on the
// broker refuses what is appended behind any other observation, and lookup drops what it reads
// of the payment. The mark of a run within the hour stays as it is.
func (s *Deployment) mark(ctx context.Context, p payment, last observations.Entry) (sequence uint64, until time.Time, err error) {
	err = stream.RetryConflicts(ctx, func() (err error) {
		if last.Refuses(s.now()) {
			sequence, until = last.Sequence, *last.Observation.RefusedUntil
			return nil
		}
		until = s.now().UTC().Add(forgotten.Refused)
		sequence, err = s.observed.Append(ctx, p.unit, last, order.Observation{
			Provider: p.unit.Provider, Account: p.unit.Account, RefusedUntil: &until,
		}, "")
		if stream.IsConflict(err) {
			if last, err = s.observed.Last(ctx, p.unit); err == nil {
				err = stream.ErrConflict
			}
		}
		return err
	})
	return sequence, until, err
}

// errInHand means that a worker may still write what it read before the payment was erased.
var errInHand = errors.New("a worker may still have a message of it in hand; run this again")

// awaitWorkers waits until no worker has a message of the payment in hand that it got before
// the mark. It returns errInHand if that is not certain after a time.
func (s *Deployment) awaitWorkers(ctx context.Context, p payment, mark uint64, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	floors := map[string]uint64{} // What each consumer must have acknowledged.
	for {
		waits := ""
		for _, c := range topology.Consumers(topology.Settings{Providers: []string{p.unit.Provider}}) {
			if !slices.ContainsFunc(holdings, func(h holding) bool { return h.stream == c.Stream }) {
				continue
			}
			bound, err := s.js.Consumer(ctx, c.Stream, c.Durable)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				continue
			}
			if err != nil {
				return fmt.Errorf("%w: read consumer %s: %w", errInHand, c.Durable, err)
			}
			info := bound.CachedInfo()
			if _, known := floors[c.Durable]; !known {
				if floors[c.Durable] = info.Delivered.Stream; c.Stream == subject.Statuses {
					floors[c.Durable] = mark // What lies before the mark is folded first.
				}
			}
			if info.AckFloor.Stream < floors[c.Durable] {
				waits = c.Durable
			}
		}
		if waits == "" {
			return nil
		}
		if !wait.For(ctx, 100*time.Millisecond) {
			return fmt.Errorf("%w; %s has not acknowledged all", errInHand, waits)
		}
	}
}

// eraseAll erases everything about a payment but the mark, 0 for none. Of a payment that is no
// longer refused it erases what was stored before it could be told of again.
func (s *Deployment) eraseAll(ctx context.Context, p payment, mark uint64, before time.Time, result *erased) error {
	for _, h := range holdings {
		if err := s.eraseFrom(ctx, h, p, mark, before, result); err != nil {
			return err
		}
	}
	return nil
}

// eraseFrom erases a payment's messages from a stream.
func (s *Deployment) eraseFrom(ctx context.Context, h holding, p payment, mark uint64, before time.Time, result *erased) error {
	all, err := s.sequences(ctx, h, p)
	if err != nil {
		return err
	}
	for _, m := range all {
		if h.stream == subject.Statuses && m.sequence == mark || !before.IsZero() && !m.stored.Before(before) {
			continue
		}
		if err := stream.Erase(ctx, s.streams[h.stream], m.sequence); err != nil {
			return fmt.Errorf("erase from %s: %w", h.stream, err)
		}
		result.Messages[h.stream]++
	}
	return nil
}
