package stale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
)

// spreadUnprocessed is over how long orphans come due.
const spreadUnprocessed = 30 * time.Second

// mostPassed bounds how many notifications are passed over for later.
const mostPassed = 10_000

// judged is how far the notifications of a provider have been looked through.
type judged struct {
	created time.Time // Of NOTIFICATIONS, when it was read.
	above   uint64
	passed  []uint64 // Up to there, ascending: those that could not be judged yet.
}

// settled is the sequence up to which all are judged.
func (j judged) settled() uint64 {
	if len(j.passed) > 0 {
		return j.passed[0] - 1
	}
	return j.above
}

// Unprocessed looks through a provider's notifications that are acknowledged, up
// to floor, and stored before a time. One that left no trace, no answer, no
// event, no letter and nothing that waits, is made due. It returns the
// sequence up to which every notification of the provider has been judged, so
// that nothing is purged unjudged, and does so with an error too: one that cannot
// be judged keeps nobody from the others, but is passed over for later. A sweeper
// goes on where it stopped, and looks again at what it passed over.
func (s *Sweeper) Unprocessed(ctx context.Context, provider string, floor uint64, before time.Time) (uint64, error) {
	s.letters = letters{} // The first notification of a call is its oldest.
	j := s.judged[provider]
	info, err := s.notifications.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read state of %s: %w", subject.Notifications, err)
	}
	switch {
	case !info.Created.Equal(j.created), info.State.LastSeq < j.above:
		j = judged{created: info.Created} // It gives its numbers out a second time, see known.
	case j.above > floor: // A broker that was killed may have forgotten acknowledgements.
		return min(floor, j.settled()), nil
	}
	var failed failures
	err = s.again(ctx, &j, &failed)
	if err == nil {
		err = s.onward(ctx, provider, floor, before, &j, &failed)
	}
	s.judged[provider] = j
	if err := errors.Join(err, failed.err()); err != nil {
		return j.settled(), fmt.Errorf("look through notifications of %s: %w", provider, err)
	}
	return j.settled(), nil
}

// again judges what was passed over.
func (s *Sweeper) again(ctx context.Context, j *judged, failed *failures) error {
	var still []uint64
	for i, sequence := range j.passed {
		raw, err := s.notifications.GetMsg(ctx, sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
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

// onward judges what was not looked at before.
func (s *Sweeper) onward(ctx context.Context, provider string, floor uint64, before time.Time, j *judged, failed *failures) error {
	all := true
	above, err := stream.Each(ctx, s.notifications, subject.NotificationsOf(provider), j.above, func(raw *jetstream.RawStreamMsg) (bool, error) {
		if raw.Sequence > floor {
			return false, nil
		}
		if !raw.Time.Before(before) || len(j.passed) >= mostPassed {
			all = false
			return false, nil
		}
		if s.passOver(ctx, raw, failed) {
			j.passed = append(j.passed, raw.Sequence)
		}
		return true, nil
	})
	if err == nil && all {
		above = floor
	}
	j.above = above
	return err
}

// passOver judges a notification, and reports whether that cannot be done yet.
func (s *Sweeper) passOver(ctx context.Context, raw *jetstream.RawStreamMsg, failed *failures) bool {
	err := s.judgeNotification(ctx, raw)
	if err != nil && !errors.Is(err, errUnsettled) {
		failed.note(raw.Sequence, err)
	}
	return err != nil
}

// errUnsettled means that a look-up of the payment is firing or has fired and
// is not done yet. What was parked for the notification may be lost with the
// schedule whose place it took, and then only the notification itself tells
// that look-up what it stands for. So it must not be purged yet.
var errUnsettled = errors.New("a look-up of the payment is on its way")

// judgeNotification makes an orphan due. It stands for its notification, as
// the look-up that was lost did, so an answer given meanwhile supersedes it.
func (s *Sweeper) judgeNotification(ctx context.Context, raw *jetstream.RawStreamMsg) error {
	var n record.Notification
	unit, err := subject.ParseUnit(raw.Subject)
	if err == nil {
		err = json.Unmarshal(raw.Data, &n)
	}
	if err != nil || n.Provider != unit.Provider || n.Account != unit.Account || s.Tokens.Token(n.Payment) != unit.Payment {
		return nil //nolint:nilerr // Lookup has put it away as one that does not decode.
	}
	traced, err := s.traced(ctx, unit, n, raw)
	if err != nil || traced {
		return err
	}
	s.Log.Warn("notification left no trace", zap.Uint64("sequence", raw.Sequence), zap.String("notification", n.ID))
	return s.enqueue(ctx, reasonOrphan, spreadUnprocessed, record.ScheduledLookUp{
		Provider: n.Provider, Account: n.Account, Kind: n.Kind, Payment: n.Payment, Order: n.Order, Fields: n.Fields,
		Covers: raw.Sequence, Notification: n.ID, NotifiedAt: &n.ReceivedAt, Trace: n.Trace,
		Cause: order.CauseNotification, Reason: string(order.CauseSweep),
	})
}

// traced reports whether something stands for the notification. An event
// counts only where the observations are gone, because they say exactly what
// they answer.
func (s *Sweeper) traced(ctx context.Context, u subject.Unit, n record.Notification, raw *jetstream.RawStreamMsg) (bool, error) {
	seen, err := s.Observations.Last(ctx, u)
	if err != nil || seen.Sequence > 0 && seen.Covers() >= raw.Sequence {
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
	return s.settled(ctx, n, raw.Sequence)
}

// firing is how long before its time, by this process's clock, a schedule may
// already be on its way.
const firing = 2 * time.Second

// settled reports whether a look-up that stands for the notification is parked
// for later. errUnsettled means that one of the payment is on its way.
func (s *Sweeper) settled(ctx context.Context, n record.Notification, sequence uint64) (bool, error) {
	place, err := s.Retries.Read(ctx, n.Provider, n.Account, n.Payment)
	if err != nil {
		return false, err
	}
	if place.Sequence > 0 && place.Parked.DueAt.After(s.Now().Add(firing)) {
		return place.Parked.Covers >= sequence, nil
	}
	waits, err := s.isScheduled(ctx, n.Provider, n.Account, n.Payment)
	if err == nil && (waits || place.Sequence > 0) {
		err = errUnsettled
	}
	return false, err
}
