package stale

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// skew is more than the clocks of two streams' leaders may differ by. A guess.
const skew = time.Minute

// deadLetters caches the dead letters of one call of Unprocessed. All webhooks of
// unknown types of an account share a unit, so its dead letters are read once per call
// and not once per notification.
type deadLetters struct {
	created map[string]time.Time // Creation time of NOTIFICATIONS. Dead letters that name another's sequences cover nothing.
	from    uint64               // Sequence of the first of them on DEAD_LETTERS, 0 before it was searched.
	of      map[unitStage]*reported
}

type unitStage struct {
	unit  subject.Unit
	stage string
}

// reported is what the dead letters of a unit and stage cover, each in its last state.
type reported struct {
	next     uint64            // The first sequence that has not been read.
	covers   map[string]uint64 // By id, without redriven dead letters: the highest notification that the dead letter covers.
	highest  uint64            // The highest value of covers.
	outdated bool              // highest must be computed again.
}

func (r *reported) note(l deadletter.Entry) {
	r.outdated = r.outdated || r.covers[l.ID] > 0
	if l.State == record.Redriven {
		delete(r.covers, l.ID)
		return
	}
	r.covers[l.ID] = l.Covers
	r.highest = max(r.highest, l.Covers)
}

// coversNotification is deadletter.Entry.CoversNotification for all dead letters of r.
func (r *reported) coversNotification(notification uint64) bool {
	if r.outdated {
		r.highest, r.outdated = 0, false
		for _, covers := range r.covers {
			r.highest = max(r.highest, covers)
		}
	}
	_, own := r.covers[deadletter.ID(subject.Notifications, notification)]
	return own || r.highest >= notification
}

// isDeadLettered reports whether a dead letter of a stage covers the notification. Such
// a dead letter is not older than the notification, but for the skew.
func (s *Sweeper) isDeadLettered(ctx context.Context, u subject.Unit, stage string, raw *jetstream.RawStreamMsg) (bool, error) {
	if s.reported.from == 0 {
		info, err := s.dead.Info(ctx)
		if err != nil {
			return false, fmt.Errorf("read state of %s: %w", subject.DeadLetters, err)
		}
		s.reported.from, err = stream.Since(ctx, s.dead, raw.Time.Add(-skew), info.State.LastSeq+1)
		if err != nil {
			return false, fmt.Errorf("find first dead letter: %w", err)
		}
		s.reported.of = map[unitStage]*reported{}
	}
	known := s.reported.of[unitStage{u, stage}]
	if known == nil {
		known = &reported{next: s.reported.from, covers: map[string]uint64{}}
		s.reported.of[unitStage{u, stage}] = known
	}
	err := s.DeadLetters.EachOf(ctx, u, stage, known.next, func(l deadletter.Entry) error {
		if known.next = l.Sequence + 1; l.ComparableWith(s.reported.created) {
			known.note(l)
		}
		return nil
	})
	return known.coversNotification(raw.Sequence), err
}
