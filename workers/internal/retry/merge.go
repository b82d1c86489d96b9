package retry

import (
	"arauto/schemas/order"
	"arauto/schemas/record"
)

// expedited returns p, due at other's time and marked as expedited where that is
// earlier.
func expedited(p, other record.ScheduledLookUp) record.ScheduledLookUp {
	if other.DueAt.Before(p.DueAt) {
		p.DueAt, p.Reason, p.Expedited = other.DueAt, other.Reason, true
	}
	return p
}

// mergeRecheck returns p with the fields of old that ScheduleRecheck keeps.
func mergeRecheck(p, old record.ScheduledLookUp) record.ScheduledLookUp {
	if old.Covers > p.Covers {
		p.Attempts, p.FirstFailure = old.Attempts, old.FirstFailure
		p.Expedited = old.Expedited || p.DueAt.Before(old.DueAt)
	}
	return mergeCoveredNotification(p, old)
}

// mergeCoverage returns kept, which now covers p's notification too, with a recheck
// series of its own. A sweep's look-up becomes that of the notification, because an
// answer to it is urgent.
func mergeCoverage(kept, p record.ScheduledLookUp) record.ScheduledLookUp {
	kept.Rechecks = 0
	kept.Refused = kept.Refused || p.Refused
	if kept.Cause == order.CauseSweep {
		kept.Cause = order.CauseNotification
	}
	return mergeCoveredNotification(kept, p)
}

// followsAnswer reports whether a look-up is a recheck or a confirmation.
func followsAnswer(p record.ScheduledLookUp) bool {
	return p.Cause == order.CauseRecheck || p.Cause == order.CauseConfirmation
}

// mergeCoveredNotification returns p, covering the later one of both notifications.
func mergeCoveredNotification(p, old record.ScheduledLookUp) record.ScheduledLookUp {
	if old.Covers > p.Covers {
		p.Cover(old)
	}
	return p
}
