package retry_test

import (
	"reflect"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

// lookUp is a change of a scheduled look-up.
type lookUp func(*record.ScheduledLookUp)

// a is a look-up of the payment p for a notification, after some attempts, changed.
func a(covers uint64, attempts int, changes ...lookUp) record.ScheduledLookUp {
	p := scheduled("p", covers, attempts)
	for _, change := range changes {
		change(&p)
	}
	return p
}

// due is a due time in hours from a point in the far future.
func due(hours int) lookUp { return func(p *record.ScheduledLookUp) { p.DueAt = far(hours) } }

// reason is why it waits.
func reason(word string) lookUp { return func(p *record.ScheduledLookUp) { p.Reason = word } }

// covering is the later notification that it covers too.
func covering(n uint64) lookUp {
	return func(p *record.ScheduledLookUp) { p.Cover(scheduled("p", n, 0)) }
}

// of is another cause than a notification, with the rechecks made so far.
func of(cause order.Cause, rechecks int) lookUp {
	return func(p *record.ScheduledLookUp) { p.Cause, p.Reason, p.Rechecks = cause, string(cause), rechecks }
}

// unknown is how often the provider did not know the payment.
func unknown(times int) lookUp { return func(p *record.ScheduledLookUp) { p.NotFound = times } }

// expedited is due before its retry is.
func expedited(p *record.ScheduledLookUp) { p.Expedited = true }

// unfailed has had no failure that counts.
func unfailed(p *record.ScheduledLookUp) { p.FirstFailure = nil }

// refused had a look-up at an hour in which the provider refused the credential.
func refused(hour int) lookUp {
	return func(p *record.ScheduledLookUp) {
		p.FailedLookUps = append(p.FailedLookUps, order.FailedLookUp{At: far(hour), Class: string(record.Credential)})
	}
}

// attempted has spent two attempts.
func attempted(p *record.ScheduledLookUp) { p.Attempts = 2 }

// unannounced covers no notification.
func unannounced(p *record.ScheduledLookUp) { p.Notification, p.NotifiedAt = "", nil }

var (
	none  = record.ScheduledLookUp{}
	swept = func(hours int) record.ScheduledLookUp {
		return a(0, 0, of(order.CauseSweep, 0), unannounced, unfailed, due(hours))
	}
	open = func(covers uint64, hours int) record.ScheduledLookUp {
		return a(covers, 0, reason("circuit"), unfailed, due(hours))
	}
	wanted = func(hours int, changes ...lookUp) record.ScheduledLookUp {
		return a(0, 0, append([]lookUp{of(order.CauseExpectation, 0), unannounced, unfailed, due(hours)}, changes...)...)
	}
	operator = a(0, 0, of(order.CauseOperator, 0), unfailed, due(-9))
	recheck  = func(covers uint64, n, hours int) record.ScheduledLookUp {
		return a(covers, 0, of(order.CauseRecheck, n), unfailed, due(hours))
	}
	confirm = func(covers uint64, hours int) record.ScheduledLookUp {
		return a(covers, 0, of(order.CauseConfirmation, 0), unfailed, due(hours))
	}
)

// merges are the rules of Merge. A due time is in hours; unchanged means that nothing is
// written. The earlier due time wins, with the exceptions that say so.
var merges = []struct {
	rule  string
	old   record.ScheduledLookUp
	as    retry.Request
	p     record.ScheduledLookUp
	want  record.ScheduledLookUp
	still bool // Nothing is written.
}{
	{rule: "a failed webhook waits for its first retry", old: none, as: retry.Fresh, p: a(5, 2), want: a(5, 2)},
	{rule: "a due look-up that failed waits for its next retry", old: none, as: retry.Retry, p: a(5, 2), want: a(5, 2)},
	{rule: "an answer has its recheck", old: none, as: retry.Recheck, p: recheck(5, 1, 0), want: recheck(5, 1, 0)},
	{rule: "a contradiction has its confirmation", old: none, as: retry.Confirmation, p: confirm(5, 0), want: confirm(5, 0)},
	{rule: "a deferred webhook has not been asked for, so its failure will spend nothing", old: none, as: retry.Deferred, p: open(5, 1), want: a(5, 0, reason("circuit"), unfailed, due(1), expedited)},
	{rule: "so an operator's look-up", old: none, as: retry.Enqueue, p: operator, want: a(0, 0, of(order.CauseOperator, 0), unfailed, due(-9), expedited)},
	{rule: "nothing is there to be expedited", old: none, as: retry.Expedite, p: a(5, 0), want: a(5, 0), still: true},

	{rule: "exception: a second webhook that failed keeps the due time and the attempts of the retry", old: a(5, 3), as: retry.Fresh, p: a(7, 0, due(-100)), want: a(5, 3, covering(7))},
	{rule: "an earlier webhook is covered already", old: a(5, 3), as: retry.Fresh, p: a(4, 0), want: a(5, 3), still: true},
	{rule: "so is the same one", old: a(5, 3), as: retry.Fresh, p: a(5, 0), want: a(5, 3), still: true},
	{rule: "so is a sweep's look-up", old: a(5, 3), as: retry.Fresh, p: swept(-9), want: a(5, 3), still: true},
	{rule: "a webhook that failed is more urgent than a sweep", old: swept(60), as: retry.Fresh, p: a(7, 0), want: a(7, 0)},
	{rule: "unless the sweep is due sooner, and then is the webhook's", old: swept(-9), as: retry.Fresh, p: a(7, 0), want: a(7, 0, reason("sweep"), unfailed, due(-9))},
	{rule: "exception: a sweep's retry stays", old: a(0, 2, of(order.CauseSweep, 0), due(60)), as: retry.Fresh, p: a(7, 0), want: a(7, 2, reason("sweep"), due(60))},
	{rule: "and a sweep's look-up of an unknown payment", old: a(0, 0, of(order.CauseSweep, 0), unfailed, unknown(2), due(60)), as: retry.Fresh, p: a(7, 0), want: a(7, 0, reason("sweep"), unfailed, unknown(2), due(60))},
	{rule: "a recheck that covers a later webhook stays one, and counts from the start", old: recheck(5, 2, 1), as: retry.Fresh, p: a(7, 0), want: a(7, 0, of(order.CauseRecheck, 0), unfailed, due(1))},
	{rule: "both refusals stay in the list", old: a(5, 1, refused(1)), as: retry.Fresh, p: a(7, 0, refused(2)), want: a(5, 1, covering(7), refused(1), refused(2))},

	{rule: "a deferred webhook that is due later waits for the retry", old: a(5, 3), as: retry.Deferred, p: open(7, 4), want: a(5, 3, covering(7))},
	{rule: "an earlier due one brings the retry forward, which keeps its attempts", old: a(5, 3), as: retry.Deferred, p: open(8, -12), want: a(5, 3, covering(8), reason("circuit"), due(-12), expedited)},
	{rule: "a webhook that is covered has been asked for", old: a(7, 3), as: retry.Deferred, p: open(7, -12), want: a(7, 3), still: true},
	{rule: "so has an earlier one", old: a(7, 3), as: retry.Deferred, p: open(6, -12), want: a(7, 3), still: true},
	{rule: "exception: two that wait for the same limit are due when the first is", old: open(5, 2), as: retry.Deferred, p: open(7, 1), want: open(7, 2)},
	{rule: "a sweep yields to a deferred webhook", old: swept(60), as: retry.Deferred, p: open(7, 1), want: a(7, 0, reason("circuit"), unfailed, due(1), expedited)},
	{rule: "another webhook of an unknown payment brings its look-up forward, and its waits start again", old: a(5, 0, reason("not_found"), unknown(4), due(9)), as: retry.Deferred, p: a(7, 0, reason("not_found"), unknown(1), due(1)), want: a(7, 0, reason("not_found"), unknown(1), due(1), expedited)},
	{rule: "it never puts that look-up off", old: a(5, 0, reason("not_found"), unknown(1), due(1)), as: retry.Deferred, p: a(7, 0, reason("not_found"), unknown(1), due(9)), want: a(7, 0, reason("not_found"), unknown(1), due(1))},
	{rule: "a refusal of the credential stays in the list", old: a(5, 1), as: retry.Deferred, p: a(7, 0, reason("credential"), refused(2), due(-1)), want: a(5, 1, covering(7), reason("credential"), refused(2), due(-1), expedited)},

	{rule: "exception: a retry takes its own due time and covers the webhook that failed meanwhile", old: a(7, 0), as: retry.Retry, p: a(5, 2), want: a(5, 2, covering(7))},
	{rule: "a webhook that was deferred meanwhile keeps its earlier due time", old: a(7, 0, reason("circuit"), due(-12), expedited), as: retry.Retry, p: a(5, 2), want: a(5, 2, covering(7), reason("circuit"), due(-12), expedited)},
	{rule: "unless the retry is due sooner", old: a(7, 0, reason("circuit"), due(-12), expedited), as: retry.Retry, p: a(5, 2, due(-20)), want: a(5, 2, covering(7), due(-20))},
	{rule: "so does an operator's look-up", old: a(0, 0, of(order.CauseOperator, 0), due(-9), expedited), as: retry.Retry, p: a(5, 1), want: a(5, 1, of(order.CauseOperator, 0), due(-9), expedited)},
	{rule: "so does a recheck of an answer that came meanwhile, which is the series that goes on", old: recheck(7, 1, -1), as: retry.Retry, p: a(5, 2, of(order.CauseRecheck, 2), reason("unavailable")), want: a(5, 2, covering(7), of(order.CauseRecheck, 1), due(-1), expedited)},
	{rule: "so does a confirmation", old: confirm(7, -1), as: retry.Retry, p: a(5, 2, of(order.CauseRecheck, 2), reason("unavailable")), want: a(5, 2, covering(7), of(order.CauseConfirmation, 0), due(-1), expedited)},
	{rule: "a later confirmation is brought forward by the retry and stays one", old: confirm(6, 9), as: retry.Retry, p: a(5, 2), want: a(5, 2, covering(6), of(order.CauseConfirmation, 0), reason("unavailable"))},
	{rule: "a retry of a later webhook starts the rechecks over", old: recheck(5, 2, 9), as: retry.Retry, p: a(7, 2), want: a(7, 2, of(order.CauseRecheck, 0), reason("unavailable"))},
	{rule: "exception: an attempt that is delivered again changes nothing", old: a(5, 4), as: retry.Retry, p: a(5, 1, due(-1)), want: a(5, 4)},
	{rule: "every refusal stays in the list", old: a(7, 0, refused(2)), as: retry.Retry, p: a(5, 1, refused(1)), want: a(5, 1, covering(7), refused(1), refused(2))},

	{rule: "exception: a recheck replaces the retry of what was answered, and spends nothing", old: a(5, 3), as: retry.Recheck, p: recheck(6, 1, 9), want: recheck(6, 1, 9)},
	{rule: "a webhook after the answer keeps its attempts, and its retry is brought forward", old: a(9, 3), as: retry.Recheck, p: recheck(6, 0, -1), want: a(9, 3, of(order.CauseRecheck, 0), due(-1), expedited)},
	{rule: "exception: or put off", old: a(8, 1), as: retry.Recheck, p: recheck(7, 0, 2), want: a(8, 1, of(order.CauseRecheck, 0), due(2))},
	{rule: "a recheck replaces a confirmation", old: confirm(6, 1), as: retry.Recheck, p: recheck(7, 1, 2), want: recheck(7, 1, 2)},

	{rule: "exception: a confirmation waits as long as it must, in place of what was answered", old: a(6, 3), as: retry.Confirmation, p: confirm(6, 9), want: confirm(6, 9)},
	{rule: "a look-up that is made in any case, and no later, confirms too", old: recheck(6, 1, 1), as: retry.Confirmation, p: confirm(6, 9), want: recheck(6, 1, 1)},
	{rule: "so does the retry of a later webhook", old: a(7, 1), as: retry.Confirmation, p: confirm(6, 9), want: a(7, 1)},
	{rule: "a later one is brought forward", old: a(7, 1, refused(1)), as: retry.Confirmation, p: confirm(6, 0), want: a(7, 1, of(order.CauseConfirmation, 0), refused(1), due(0), expedited)},

	{rule: "an operator's look-up is due now, and keeps what was spent and covered", old: a(7, 4, unknown(2), refused(1)), as: retry.Enqueue, p: operator, want: a(7, 4, of(order.CauseOperator, 0), unknown(2), refused(1), due(-9), expedited)},
	{rule: "a recheck stays one when an operator wants it now", old: recheck(7, 1, 1), as: retry.Enqueue, p: operator, want: a(7, 0, of(order.CauseRecheck, 1), unfailed, reason("operator"), due(-9), expedited)},
	{rule: "so does a confirmation", old: confirm(7, 1), as: retry.Enqueue, p: operator, want: a(7, 0, of(order.CauseConfirmation, 0), unfailed, reason("operator"), due(-9), expedited)},
	{rule: "an expected payment has its look-up", old: none, as: retry.Expected, p: wanted(1), want: wanted(1)},
	{rule: "of two the earlier one is made", old: wanted(4), as: retry.Expected, p: wanted(1), want: wanted(1)},
	{rule: "a later one changes nothing", old: wanted(1), as: retry.Expected, p: wanted(4), want: wanted(1), still: true},
	{rule: "it yields to the retry of a webhook", old: a(5, 3), as: retry.Expected, p: wanted(-9), want: a(5, 3), still: true},
	{rule: "to a recheck", old: recheck(5, 1, 9), as: retry.Expected, p: wanted(1), want: recheck(5, 1, 9), still: true},
	{rule: "to a confirmation", old: confirm(5, 9), as: retry.Expected, p: wanted(1), want: confirm(5, 9), still: true},
	{rule: "when it was made and the payment is unknown, that stays in the list of what was scheduled meanwhile", old: a(7, 1), as: retry.Expected, p: wanted(1, refused(2)), want: a(7, 1, refused(2))},
	{rule: "a webhook that failed replaces it", old: wanted(60), as: retry.Fresh, p: a(7, 0), want: a(7, 0)},
	{rule: "unless it is due sooner, and then is the webhook's", old: wanted(-9), as: retry.Fresh, p: a(7, 0), want: a(7, 0, reason("expectation"), unfailed, due(-9))},
	{rule: "so does a webhook that was deferred", old: wanted(60), as: retry.Deferred, p: open(7, 1), want: a(7, 0, reason("circuit"), unfailed, due(1), expedited)},
	{rule: "a recheck replaces it", old: wanted(1), as: retry.Recheck, p: recheck(5, 1, 9), want: recheck(5, 1, 9)},
	{rule: "its own retry yields to a webhook's", old: a(7, 1), as: retry.Retry, p: wanted(1, attempted), want: a(7, 1), still: true},

	{rule: "what is expedited is due now and does not change otherwise", old: a(7, 4), as: retry.Expedite, p: a(0, 0, due(-9)), want: a(7, 4, due(-9), expedited)},

	{rule: "nothing is there to be resumed", old: none, as: retry.Resume, p: open(5, 0), want: open(5, 0), still: true},
	{rule: "a look-up that waits for a circuit is brought forward, and nothing else changes", old: a(7, 2, reason("circuit"), due(9), refused(1), unknown(2), expedited), as: retry.Resume, p: a(5, 0, due(1)), want: a(7, 2, reason("circuit"), due(1), refused(1), unknown(2), expedited)},
	{rule: "so is one whose credential was refused", old: a(7, 0, reason("credential"), unfailed, due(9)), as: retry.Resume, p: open(7, 1), want: a(7, 0, reason("credential"), unfailed, due(1))},
	{rule: "never put off", old: open(7, 1), as: retry.Resume, p: open(7, 9), want: open(7, 1), still: true},
	{rule: "a retry that was scheduled meanwhile stays", old: a(7, 2, due(9)), as: retry.Resume, p: open(7, 1), want: a(7, 2, due(9)), still: true},
	{rule: "so does a recheck", old: recheck(7, 1, 9), as: retry.Resume, p: open(7, 1), want: recheck(7, 1, 9), still: true},
}

func TestMerge(t *testing.T) {
	t.Parallel()
	for _, c := range merges {
		next, write := retry.Merge(c.old, c.p, c.as)
		if !reflect.DeepEqual(next, c.want) || write == c.still {
			t.Errorf("%s:\n%+v\nand %s\n%+v\nbecame, written %v,\n%+v, want\n%+v", c.rule, c.old, c.as, c.p, write, next, c.want)
		}
	}
}
