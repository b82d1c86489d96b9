package record

import "time"

// SameIncarnation reports whether two sequences of a stream may be compared, by the
// creation times of the stream that are stored beside them: a stream that is deleted and
// created again counts from 1. A sequence without a creation time was stored by an
// earlier version, and may be compared with any.
func SameIncarnation(a, b time.Time) bool { return a.IsZero() || b.IsZero() || a.Equal(b) }

// On returns p as it counts on the NOTIFICATIONS that was created at a time: it covers
// nothing there if it covers a notification of another incarnation.
func (p ScheduledLookUp) On(created time.Time) ScheduledLookUp {
	if !SameIncarnation(p.NotificationsCreated, created) {
		p.Covers = 0
	}
	return p
}

// ComparableWith reports whether the sequences that l names may be compared with others
// of streams that were created at the given times.
func (l DeadLetter) ComparableWith(created map[string]time.Time) bool {
	for stream, at := range l.Created {
		if !SameIncarnation(at, created[stream]) {
			return false
		}
	}
	return true
}
