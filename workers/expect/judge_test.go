package expect_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/workers/expect"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// minutes is a time in minutes from noon, when the expectation was announced.
func minutes(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }

// said is what was published of the version.
func said(words ...expectation.Word) map[expectation.Word]expectation.Outcome {
	all := map[expectation.Word]expectation.Outcome{}
	for _, w := range words {
		all[w] = expectation.Outcome{Outcome: w}
	}
	return all
}

// event is the next event of a log, seen so many minutes after noon. A webhook prompted it.
func event(status order.Status, minute int, value int64) expect.Event {
	id := "n"
	return expect.Event{
		Event:  order.Event{Kind: order.Payment, Status: status, ObservedAt: minutes(minute), Notification: &id, Amount: &order.Amount{Currency: "BRL", Value: value}, Confirmed: true},
		Stored: minutes(minute),
	}
}

// facts are those of a payment of R$ 100,00 that is expected within an hour, changed.
func facts(now int, change func(*expect.Facts)) expect.Facts {
	f := expect.Facts{
		Order: "o", Amount: &expectation.Amount{Currency: "BRL", Value: 10000}, Deadline: minutes(60), Since: noon,
		Said: said(), Now: minutes(now), Known: true,
	}
	change(&f)
	return f
}

func TestJudge(t *testing.T) {
	t.Parallel()
	paid := event(order.Paid, 5, 10000)
	for rule, c := range map[string]struct {
		f       expect.Facts
		want    []expectation.Word
		settled bool
	}{
		"paid in time": {facts(5, func(f *expect.Facts) { f.Events = []expect.Event{paid} }), []expectation.Word{met}, true},
		"said once":    {facts(5, func(f *expect.Facts) { f.Events, f.Said = []expect.Event{paid}, said(met) }), nil, true},
		"less":         {facts(5, func(f *expect.Facts) { f.Events = []expect.Event{event(order.Paid, 5, 9999)} }), []expectation.Word{mismatch}, true},
		"more":         {facts(5, func(f *expect.Facts) { f.Events = []expect.Event{event(order.Paid, 5, 10001)} }), []expectation.Word{mismatch}, true},
		"another currency": {facts(5, func(f *expect.Facts) {
			f.Events = []expect.Event{paid}
			f.Amount = &expectation.Amount{Currency: "USD", Value: 10000}
		}), []expectation.Word{mismatch}, true},
		"any sum will do": {facts(5, func(f *expect.Facts) { f.Events, f.Amount = []expect.Event{event(order.Paid, 5, 1)}, nil }), []expectation.Word{met}, true},
		"authorized is not paid": {facts(5, func(f *expect.Facts) {
			f.Events, f.Status, f.Asked = []expect.Event{event(order.Authorized, 5, 9)}, order.Authorized, minutes(5)
		}), nil, false},
		"seen as refunded": {facts(5, func(f *expect.Facts) { f.Events = []expect.Event{event(order.Refunded, 5, 10000)} }), []expectation.Word{met}, true},
		"late, as the provider says": {facts(90, func(f *expect.Facts) {
			late := event(order.Paid, 61, 10000)
			at := minutes(61)
			late.OccurredAt = &at
			f.Events = []expect.Event{late}
		}), []expectation.Word{late}, true},
		"in time, though seen late": {facts(90, func(f *expect.Facts) {
			e := event(order.Paid, 90, 10000)
			at := minutes(59)
			e.OccurredAt = &at
			f.Events = []expect.Event{e}
		}), []expectation.Word{met}, true},
		"seen long after the deadline":  {facts(90, func(f *expect.Facts) { f.Events = []expect.Event{event(order.Paid, 90, 10000)} }), []expectation.Word{late}, true},
		"seen right after the deadline": {facts(61, func(f *expect.Facts) { f.Events = []expect.Event{event(order.Paid, 61, 10000)} }), []expectation.Word{met}, true},
		"unless it was unpaid then":     {facts(62, func(f *expect.Facts) { f.Events, f.Said = []expect.Event{event(order.Paid, 62, 10000)}, said(never) }), []expectation.Word{late}, true},
		"late and another sum":          {facts(90, func(f *expect.Facts) { f.Events = []expect.Event{event(order.Paid, 90, 1)} }), []expectation.Word{mismatch, late}, true},
		"another payment is paid":       {facts(5, func(f *expect.Facts) { f.Events, f.Other = []expect.Event{paid}, &expectation.Payment{Payment: "q"} }), []expectation.Word{twice}, true},
		"another is paid later": {facts(5, func(f *expect.Facts) {
			f.Events, f.Other, f.Said = []expect.Event{paid}, &expectation.Payment{Payment: "q"}, said(met)
		}), []expectation.Word{twice}, true},
		"not if this one was refunded": {facts(5, func(f *expect.Facts) {
			f.Events, f.Other, f.Said = []expect.Event{paid, event(order.Refunded, 6, 10000)}, &expectation.Payment{Payment: "q"}, said(met)
		}), nil, true},
		"ended without money":            {facts(5, func(f *expect.Facts) { f.Events = []expect.Event{event(order.Canceled, 5, 10000)} }), []expectation.Word{never}, true},
		"unpaid after the deadline":      {facts(61, func(f *expect.Facts) { f.Status, f.Asked = order.Pending, minutes(60) }), []expectation.Word{never}, true},
		"unpaid before the deadline":     {facts(61, func(f *expect.Facts) { f.Status, f.Asked = order.Pending, minutes(59) }), nil, false},
		"unknown after the deadline":     {facts(61, func(f *expect.Facts) { f.NotFound = minutes(60) }), []expectation.Word{never}, true},
		"unknown before the deadline":    {facts(61, func(f *expect.Facts) { f.NotFound = minutes(59) }), nil, false},
		"an answer that is no event yet": {facts(61, func(f *expect.Facts) { f.Status, f.Asked = order.Paid, minutes(60) }), nil, false},
		"an unknown word":                {facts(61, func(f *expect.Facts) { f.Asked = minutes(60) }), nil, false},
		"what a webhook alone says":      {facts(61, func(f *expect.Facts) { f.Status, f.Asked, f.Known = order.Pending, minutes(60), false }), nil, false},
		"no webhook about a change": {facts(15, func(f *expect.Facts) {
			f.Events, f.Said, f.Silent = []expect.Event{paid}, said(met), &expect.Silent{Stored: minutes(5)}
		}), []expectation.Word{unannounced}, true},
		"the webhook may still be sent": {facts(14, func(f *expect.Facts) { f.Events, f.Silent = []expect.Event{paid}, &expect.Silent{Stored: minutes(5)} }), []expectation.Word{met}, false},
		"it was sent": {facts(14, func(f *expect.Facts) {
			f.Events, f.Silent = []expect.Event{paid}, &expect.Silent{Stored: minutes(5), Announced: true}
		}), []expectation.Word{met}, true},
		"removed: only what follows": {facts(999, func(f *expect.Facts) {
			f.Events, f.Said, f.Closed = []expect.Event{event(order.Paid, 99, 10000)}, said(never), true
		}), []expectation.Word{late}, true},
		"met, and compacted to its end": {facts(999, func(f *expect.Facts) {
			f.Events, f.Said, f.Closed = []expect.Event{event(order.Canceled, 99, 10000)}, said(met), true
		}), nil, true},
		"a capture that was taken back": {facts(61, func(f *expect.Facts) {
			back := event(order.Canceled, 20, 10000)
			back.Correction = true
			f.Events = []expect.Event{paid, back}
		}), []expectation.Word{never}, true},
	} {
		v := expect.Judge(c.f)
		if !slices.Equal(v.Outcomes, c.want) || v.Settled != c.settled {
			t.Errorf("%s: %v, settled %v, want %v, %v", rule, v.Outcomes, v.Settled, c.want, c.settled)
		}
	}
}

// drawFacts are any facts.
func drawFacts(rt *rapid.T) expect.Facts {
	statuses := order.Payment.Statuses()
	f := facts(rapid.IntRange(0, 200).Draw(rt, "now"), func(f *expect.Facts) {
		for i := range rapid.IntRange(0, 3).Draw(rt, "events") {
			e := event(rapid.SampledFrom(statuses).Draw(rt, "status"), 10*i, int64(rapid.IntRange(9999, 10001).Draw(rt, "value")))
			if rapid.Bool().Draw(rt, "no amount") {
				e.Amount = nil
			}
			e.Correction = rapid.Bool().Draw(rt, "correction")
			f.Events = append(f.Events, e)
		}
	})
	if n := len(f.Events); n > 0 || rapid.Bool().Draw(rt, "answered") {
		f.Asked = minutes(rapid.IntRange(0, 200).Draw(rt, "asked"))
		f.Status = rapid.SampledFrom(append(statuses, "")).Draw(rt, "last")
	}
	if rapid.Bool().Draw(rt, "unknown") {
		f.NotFound = minutes(rapid.IntRange(0, 200).Draw(rt, "not found"))
	}
	if rapid.Bool().Draw(rt, "silent") {
		f.Silent = &expect.Silent{Stored: minutes(rapid.IntRange(0, 200).Draw(rt, "changed")), Announced: rapid.Bool().Draw(rt, "announced")}
	}
	if rapid.Bool().Draw(rt, "other") {
		f.Other = &expectation.Payment{Payment: "q"}
	}
	f.Known, f.Notified, f.Waits = rapid.Bool().Draw(rt, "known"), rapid.Bool().Draw(rt, "notified"), rapid.Bool().Draw(rt, "waits")
	f.Closed = rapid.Bool().Draw(rt, "closed")
	if rapid.Bool().Draw(rt, "scheduled") {
		f.WaitsAt = minutes(rapid.IntRange(0, 300).Draw(rt, "waits at"))
	}
	return f
}

// For any facts:
//   - Once its outcomes are published, judging again publishes nothing more.
//   - What was paid in time is not called unpaid, and met excludes every other word about money.
//   - never_paid needs an event without money, or an answer that was asked after the deadline.
//   - What is not settled is judged again, and later than now unless it may be at once.
//   - A settled payment is not looked up, nor is one whose look-up waits.
func TestRulesOfAnyJudgement(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		f := drawFacts(rt)
		v := expect.Judge(f)
		has := func(w expectation.Word) bool { return slices.Contains(v.Outcomes, w) }
		if has(met) && (has(mismatch) || has(late) || has(twice) || has(never)) {
			rt.Fatalf("met beside others: %v", v.Outcomes)
		}
		ended := len(f.Events) > 0 && slices.Contains([]order.Status{order.Canceled, order.Expired, order.Refused, order.Failed}, f.Events[len(f.Events)-1].Status)
		if asked := f.Known && !f.Asked.Before(f.Deadline) || !f.NotFound.Before(f.Deadline); has(never) && !ended && !asked {
			rt.Fatalf("never_paid without an answer from after the deadline: %+v", f)
		}
		if has(unannounced) && (f.Silent == nil || f.Silent.Announced || f.Now.Before(f.Silent.Stored.Add(10*time.Minute))) {
			rt.Fatalf("unannounced too early: %+v", f.Silent)
		}
		switch {
		case !v.Settled && v.Again.IsZero():
			rt.Fatal("it is never judged again")
		case !v.Settled && v.Again.Before(f.Now):
			rt.Fatalf("it is judged again at %v, now is %v", v.Again, f.Now)
		case v.Settled && !v.Ask.IsZero():
			rt.Fatal("a settled payment is looked up")
		case !v.Ask.IsZero() && (f.Waits || f.Notified):
			rt.Fatal("it is looked up although another look-up waits")
		case !v.Ask.IsZero() && v.Ask.Before(f.Now):
			rt.Fatalf("it is looked up in the past: %v", v.Ask)
		}
		for _, w := range v.Outcomes {
			f.Said[w] = expectation.Outcome{Outcome: w}
		}
		if again := expect.Judge(f); len(again.Outcomes) > 0 || again.Settled != v.Settled {
			rt.Fatalf("judged again: %v and %v, then %v and %v", v.Outcomes, v.Settled, again.Outcomes, again.Settled)
		}
	})
}

// A payment that nothing is known of is looked up at most six times within its first 17
// minutes, and never less often than every four minutes.
func TestCadenceOfTheFirstMinutes(t *testing.T) {
	t.Parallel()
	now, asked, last := noon, []time.Duration{}, time.Time{}
	for now.Before(minutes(18)) {
		f := facts(0, func(f *expect.Facts) { f.Now, f.NotFound = now, last })
		v := expect.Judge(f)
		if v.Settled || v.Ask.IsZero() {
			t.Fatalf("at %v it is %+v", now, v)
		}
		last, now = v.Ask, v.Ask
		if now.Before(minutes(18)) {
			asked = append(asked, v.Ask.Sub(noon))
		}
	}
	want := []time.Duration{0, time.Minute, 5 * time.Minute, 9 * time.Minute, 13 * time.Minute, 17 * time.Minute}
	if !slices.Equal(asked, want) {
		t.Errorf("it is looked up after %v, want %v", asked, want)
	}
}
