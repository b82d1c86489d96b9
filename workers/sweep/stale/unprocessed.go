package stale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
)

// spreadUnprocessed is over how long look-ups for unprocessed notifications are spread.
const spreadUnprocessed = 30 * time.Second

// maxPassed is how many notifications per provider may wait to be judged again.
const maxPassed = 10_000

// judged is how far the notifications of a provider have been judged.
type judged struct {
	created time.Time // Creation time of NOTIFICATIONS when it was read.
	above   uint64    // The last sequence that was read.
	passed  []uint64  // Sequences up to above that could not be judged yet, ascending.
	missing missing   // Those of passed that the broker did not find.
}

// upTo is the sequence up to which every notification is judged.
func (j judged) upTo() uint64 {
	if len(j.passed) > 0 {
		return j.passed[0] - 1
	}
	return j.above
}

// Unprocessed judges a provider's notifications that are acknowledged, up to floor, and
// stored before a time, and enqueues a look-up for each one without an outcome. It returns
// the sequence up to which all are judged, also with an error; the next call goes on there.
func (s *Sweeper) Unprocessed(ctx context.Context, provider string, floor uint64, before time.Time) (uint64, error) {
	j := s.judged[provider]
	info, err := s.notifications.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read state of %s: %w", subject.Notifications, err)
	}
	created := stream.Incarnation(info)
	s.counted = s.Observations.On(created)
	// The dead letters are searched from the first notification of a call, which is the
	// oldest.
	s.reported = deadLetters{created: map[string]time.Time{subject.Notifications: created}}
	switch {
	case !created.Equal(j.created), info.State.LastSeq < j.above:
		j = judged{created: created, missing: missing{}} // NOTIFICATIONS was recreated, or restored from an older copy: see resetIfRecreated.
	case j.above > floor: // A broker that was killed may have lost acknowledgements.
		return min(floor, j.upTo()), nil
	}
	var failed failures
	err = s.judgeAgain(ctx, &j, &failed)
	if err == nil {
		err = s.judgeNew(ctx, provider, floor, before, &j, &failed)
	}
	s.judged[provider] = j
	if err := errors.Join(err, failed.err()); err != nil {
		return j.upTo(), fmt.Errorf("look through notifications of %s: %w", provider, err)
	}
	return j.upTo(), nil
}

// judgeAgain judges the notifications that were passed over before.
func (s *Sweeper) judgeAgain(ctx context.Context, j *judged, failed *failures) error {
	var still []uint64
	for i, sequence := range j.passed {
		raw, err := s.notifications.GetMsg(ctx, sequence)
		isMissing, isGone := j.missing.note(sequence, err, s.Now())
		if isGone {
			continue
		}
		if isMissing {
			still = append(still, sequence)
			continue
		}
		if err != nil {
			j.passed = append(still, j.passed[i:]...)
			return fmt.Errorf("read notification %d: %w", sequence, err)
		}
		if s.passOver(ctx, raw, failed) {
			still = append(still, sequence)
		}
	}
	j.passed = still
	return nil
}

// judgeNew judges the notifications that were not read before. It asks for none above floor:
// the broker would walk over all notifications of other providers to find that there is none.
func (s *Sweeper) judgeNew(ctx context.Context, provider string, floor uint64, before time.Time, j *judged, failed *failures) error {
	for j.above < floor {
		raw, err := stream.NextOrNone(ctx, s.notifications, subject.NotificationsOf(provider), j.above)
		switch {
		case err != nil:
			return err
		case raw == nil || raw.Sequence > floor:
			j.above = floor
			return nil
		case !raw.Time.Before(before) || len(j.passed) >= maxPassed:
			j.above = raw.Sequence - 1 // The next call finds it at once.
			return nil
		}
		if s.passOver(ctx, raw, failed) {
			j.passed = append(j.passed, raw.Sequence)
		}
		j.above = raw.Sequence
	}
	return nil
}

// passOver judges a notification, and reports whether it must be judged again later.
func (s *Sweeper) passOver(ctx context.Context, raw *jetstream.RawStreamMsg, failed *failures) bool {
	err := s.judgeNotification(ctx, raw)
	if err != nil && !errors.Is(err, errInFlight) {
		failed.note(raw.Sequence, err)
	}
	return err != nil
}

// errInFlight means that a look-up of the payment is firing or being handled. It may have
// replaced the look-up that was scheduled for the notification, and reads from the
// notification what it must cover, so the notification must not be purged yet.
var errInFlight = errors.New("a look-up of the payment is on its way")

// judgeNotification enqueues a look-up for a notification without an outcome. It covers
// that notification, so an answer that is stored meanwhile supersedes it.
func (s *Sweeper) judgeNotification(ctx context.Context, raw *jetstream.RawStreamMsg) error {
	var n record.Notification
	unit, err := subject.ParseUnit(raw.Subject)
	if err == nil {
		err = json.Unmarshal(raw.Data, &n)
	}
	if err != nil || n.Provider != unit.Provider || n.Account != unit.Account || s.Tokens.Token(n.Payment) != unit.Payment {
		return nil //nolint:nilerr // lookup stores a dead letter about such a message.
	}
	known, err := s.hasOutcome(ctx, unit, n, raw)
	if err != nil || known {
		return err
	}
	return s.enqueue(ctx, reasonUnprocessed, spreadUnprocessed, record.ScheduledLookUp{
		Provider: n.Provider, Account: n.Account, Kind: n.Kind, Payment: n.Payment, Order: n.Order, Fields: n.Fields,
		Covers: raw.Sequence, NotificationsCreated: s.counted.Created(), Notification: n.ID, NotifiedAt: &n.ReceivedAt, Trace: n.Trace,
		Cause: order.CauseNotification, Reason: string(order.CauseSweep),
	})
}

// hasOutcome reports whether the notification has an outcome. Observations say which
// notifications they cover. So an event counts only where the observations have expired.
func (s *Sweeper) hasOutcome(ctx context.Context, u subject.Unit, n record.Notification, raw *jetstream.RawStreamMsg) (bool, error) {
	seen, err := s.counted.Last(ctx, u)
	if err != nil || seen.Refuses(raw.Time) || seen.Sequence > 0 && seen.Covers() >= raw.Sequence {
		return true, err
	}
	if seen.Sequence == 0 {
		log, err := observations.OrderLog(ctx, s.orders, u)
		if err != nil || log.Last != nil && log.Stored.After(raw.Time) {
			return true, err
		}
	}
	for _, stage := range []string{record.StageLookup, record.StageSweep} {
		given, err := s.isDeadLettered(ctx, u, stage, raw)
		if err != nil || given {
			return true, err
		}
	}
	return s.isCovered(ctx, n, raw.Sequence)
}

// firing is how long before its due time a schedule may already fire, since the clock of
// this process may lag the broker's. A guess.
const firing = 2 * time.Second

// isCovered reports whether a look-up that covers the notification is scheduled for later.
// errInFlight means that a look-up of the payment is firing or being handled.
func (s *Sweeper) isCovered(ctx context.Context, n record.Notification, sequence uint64) (bool, error) {
	place, err := s.Retries.Read(ctx, n.Provider, n.Account, n.Payment)
	if err != nil {
		return false, err
	}
	if place.Sequence > 0 && place.Parked.DueAt.After(s.Now().Add(firing)) {
		return place.Parked.On(s.counted.Created()).Covers >= sequence, nil
	}
	waits, err := s.isScheduled(ctx, n.Provider, n.Account, n.Payment)
	if err == nil && (waits || place.Sequence > 0) {
		err = errInFlight
	}
	return false, err
}
