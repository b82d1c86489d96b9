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

// skew is how far apart the broker's timestamps on two streams may lie, and more.
const skew = time.Minute

// letters are the dead letters that may stand for the notifications of one call
// of Orphans. A unit can have very many, all webhooks of unknown types share
// one, so each letter is read once in a call and not for every notification.
type letters struct {
	from uint64 // The first of them on DEAD_LETTERS, 0 before it was looked for.
	of   map[place]*reported
}

type place struct {
	unit  subject.Unit
	stage string
}

// reported is what the letters of a unit and stage say, as each stands now.
type reported struct {
	next    uint64            // From where on they have not been read.
	open    map[string]uint64 // By id: the highest notification that one stands for. Those that were redriven are not in it.
	highest uint64            // Of those.
	stale   bool              // highest may be of one that was redriven.
}

func (r *reported) note(l deadletter.Entry) {
	r.next = l.Sequence + 1
	r.stale = r.stale || r.open[l.ID] > 0
	if l.State == record.Redriven {
		delete(r.open, l.ID)
		return
	}
	r.open[l.ID] = l.Covers
	r.highest = max(r.highest, l.Covers)
}

// standFor is deadletter.Letter's StandsFor for all letters at once.
func (r *reported) standFor(notification uint64) bool {
	if r.stale {
		r.highest, r.stale = 0, false
		for _, stands := range r.open {
			r.highest = max(r.highest, stands)
		}
	}
	_, own := r.open[deadletter.ID(subject.Notifications, notification)]
	return own || r.highest >= notification
}

// isDeadLettered reports whether a dead letter of a stage stands for the notification.
// No such letter is older than the notification itself.
func (s *Sweeper) isDeadLettered(ctx context.Context, u subject.Unit, stage string, raw *jetstream.RawStreamMsg) (bool, error) {
	if s.letters.from == 0 {
		info, err := s.dead.Info(ctx)
		if err != nil {
			return false, fmt.Errorf("read state of %s: %w", subject.DeadLetters, err)
		}
		s.letters.from, err = stream.Since(ctx, s.dead, subject.AllDeadLetters, raw.Time.Add(-skew), info.State.LastSeq+1)
		if err != nil {
			return false, fmt.Errorf("find first dead letter: %w", err)
		}
		s.letters.of = map[place]*reported{}
	}
	known := s.letters.of[place{u, stage}]
	if known == nil {
		known = &reported{next: s.letters.from, open: map[string]uint64{}}
		s.letters.of[place{u, stage}] = known
	}
	err := s.DeadLetters.Each(ctx, u.DeadLetter(subject.Any, stage), known.next, func(l deadletter.Entry) error {
		known.note(l)
		return nil
	})
	return known.standFor(raw.Sequence), err
}
