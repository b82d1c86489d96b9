package lookup

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
)

// noon is the time of the decisions; hours count from it.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(hour int) time.Time { return noon.Add(time.Duration(hour) * time.Hour) }

// webhook is a fresh notification.
func webhook(covers uint64) task {
	return task{fresh: true, ScheduledLookUp: record.ScheduledLookUp{Cause: order.CauseNotification, Covers: covers, Notification: "own"}}
}

// due is a scheduled look-up that became due at an hour.
func due(cause order.Cause, covers uint64, hour int) task {
	return task{ScheduledLookUp: record.ScheduledLookUp{Cause: cause, Covers: covers, Notification: "own", DueAt: at(hour)}}
}

// raced is a task after another look-up was answered while it was made.
func raced(t task) task { t.conflict = true; return t }

// answer is an answer to a notification, which covers others, stored at an hour.
func answer(to string, covers uint64, hour int) stored {
	return stored{last: observations.Entry{Sequence: 1, Stored: at(hour), Observation: order.Observation{Notification: to, Covers: covers, Confirmed: true}}}
}

// older is an answer that is older than the notification it covers.
func older(s stored) stored { s.older = true; return s }

// waiting is a scheduled look-up that is due at an hour, after an answer or none.
func waiting(s stored, reason string, hour int) stored {
	s.scheduled = retry.Entry{Sequence: 1, Parked: record.ScheduledLookUp{Cause: order.CauseNotification, Reason: reason, DueAt: at(hour)}}
	return s
}

func TestDecide(t *testing.T) {
	t.Parallel()
	nothing := stored{}
	for _, c := range []struct {
		rule string
		task task
		s    stored
		want decision
	}{
		{"a first webhook is looked up", webhook(5), nothing, ask},
		{"a webhook after the answer is looked up", webhook(5), answer("other", 4, -1), ask},
		{"a webhook that the answer covers is done", webhook(5), answer("other", 5, -1), superseded},
		{"so is its own redelivery", webhook(5), answer("own", 5, -1), superseded},
		{"an answer that is older than the webhook does not cover it", webhook(5), older(answer("other", 5, -1)), askAgain},
		{"a due look-up whose webhook was answered before is done", due(order.CauseNotification, 5, -1), answer("other", 5, -2), superseded},
		{"the race of the firing schedule: an answer that was stored after the due time may have lost its recheck", due(order.CauseNotification, 5, -2), answer("other", 5, -1), askAgain},
		{"but not its own answer, whose ack was lost", due(order.CauseNotification, 5, -2), answer("own", 5, -1), superseded},
		{"a recheck is made in any case", due(order.CauseRecheck, 5, -1), answer("other", 9, -2), ask},
		{"so is a confirmation", due(order.CauseConfirmation, 5, -1), answer("other", 9, -2), ask},
		{"so is a sweep's look-up", due(order.CauseSweep, 0, -1), answer("other", 9, -2), ask},
		{"so is an operator's", due(order.CauseOperator, 0, -1), answer("other", 9, -2), ask},
		{"so is one for a notification of another incarnation, which covers nothing", due(order.CauseNotification, 0, -1), answer("other", 9, -2), ask},
		{"the refusal of a guard ends a sweep's look-up", raced(due(order.CauseSweep, 0, -1)), answer("other", 9, 0), redundant},
		{"and an operator's", raced(due(order.CauseOperator, 9, -1)), answer("other", 9, 0), redundant},
		{"unless it covers a webhook that is not answered yet", raced(due(order.CauseOperator, 10, -1)), answer("other", 9, 0), ask},
		{"it does not end a recheck", raced(due(order.CauseRecheck, 5, -1)), answer("other", 9, 0), ask},
		{"a webhook of a payment that the provider has just called unknown waits with it", webhook(5), waiting(nothing, "not_found", 1), join},
		{"so does one of a payment that is queued for the rate limit", webhook(5), waiting(nothing, "rate_limit", 1), join},
		{"a webhook beside any other scheduled look-up is looked up at once", webhook(5), waiting(nothing, "transport", 1), ask},
		{"and beside a due one", webhook(5), waiting(nothing, "not_found", 0), ask},
		{"a scheduled look-up holds back no due one", due(order.CauseNotification, 5, -1), waiting(nothing, "not_found", 1), ask},
		{"nor a webhook that an older answer covers", webhook(5), waiting(older(answer("other", 5, -1)), "not_found", 1), askAgain},
	} {
		if got := decide(c.task, c.s, noon); got != c.want {
			t.Errorf("%s: decided to %s, want to %s", c.rule, got, c.want)
		}
	}
}

// For any task and anything stored:
//   - Only a covered notification, or a sweep's or an operator's look-up after a conflict, ends
//     without a look-up, and whatever is scheduled.
//   - A covered notification that is looked up again is a recheck from then on, which the same
//     answer does not end.
//   - A look-up for a notification above the last answer is made, or joins a scheduled one.
func TestRulesOfAnyDecision(t *testing.T) {
	t.Parallel()
	for name, job := range map[string]task{
		"webhook": webhook(0), "due": due(order.CauseNotification, 0, 0), "recheck": due(order.CauseRecheck, 0, 0),
		"confirmation": due(order.CauseConfirmation, 0, 0), "sweep": due(order.CauseSweep, 0, 0), "operator": due(order.CauseOperator, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) { decideAny(rt, job) })
		})
	}
}

// decideAny checks the rules for a task of any coverage, due time and past.
func decideAny(rt *rapid.T, job task) {
	number := func(most int, of string) int { return rapid.IntRange(0, most).Draw(rt, of) }
	job.Covers, job.DueAt = uint64(number(3, "covers")), at(-number(3, "due"))
	job.conflict = rapid.Bool().Draw(rt, "conflict")
	alone := answer(rapid.SampledFrom([]string{"own", "other"}).Draw(rt, "answered"), uint64(number(3, "answer covers")), -number(3, "answered at"))
	alone.older = job.fresh && rapid.Bool().Draw(rt, "older")
	s := waiting(alone, rapid.SampledFrom([]string{"not_found", "rate_limit", "transport", "recheck"}).Draw(rt, "reason"), number(4, "scheduled")-2)

	got := decide(job, s, noon)
	covered := job.Covers <= s.last.Covers()
	switch got {
	case superseded:
		if job.Cause != order.CauseNotification || !covered || job.Covers == 0 {
			rt.Fatalf("%+v is superseded", job)
		}
	case redundant:
		if job.Cause != order.CauseSweep && job.Cause != order.CauseOperator || !covered || !job.conflict {
			rt.Fatalf("%+v is redundant", job)
		}
	case join:
		if !job.fresh || !s.scheduled.Parked.DueAt.After(noon) {
			rt.Fatalf("%+v joins %+v", job, s.scheduled.Parked)
		}
	case askAgain:
		recheck := job
		recheck.makeRecheck(s)
		if again := decide(recheck, s, noon); again != ask || recheck.Cause != order.CauseRecheck || recheck.Attempts != 0 {
			rt.Fatalf("as a recheck, %+v is to %s", recheck, again)
		}
	case ask:
	}
	ends := func(d decision) bool { return d == superseded || d == redundant }
	if unread := decide(job, alone, noon); ends(got) != ends(unread) {
		rt.Fatalf("%s beside %+v, else %s", got, s.scheduled.Parked, unread)
	}
}
