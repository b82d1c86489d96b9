package operator

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"arauto/deploy/runtime/config"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// TestPageAndCommandSayTheSame compares what a page of the console is made of with what the
// command prints.
func TestPageAndCommandSayTheSame(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.bank.say("p-1", "pending")
	r.notify("p-1")
	r.moved("p-1", order.Pending)
	r.bank.say("p-1", "paid")
	r.run(ExitDone, "replay", "--payment", "p-1")
	r.moved("p-1", order.Paid)
	cfg, err := config.Load(r.config, os.LookupEnv, providers.All)
	r.Must(err)
	d, err := Open(r.Ctx, r.JS, cfg, r.Tokens, "")
	r.Must(err)
	var printed, shown []Entry
	r.Until("both have read the same", func() bool { // What is scheduled may fire in between.
		printed, shown = nil, nil
		r.Must(json.Unmarshal([]byte(r.run(ExitDone, "order", "show", "p-1", "--output", "json")), &printed))
		story, err := d.Story(r.Ctx, r.Unit("p-1"), 100)
		r.Must(err)
		body, err := json.Marshal(story.Entries)
		r.Must(err)
		r.Must(json.Unmarshal(body, &shown))
		a, err := json.Marshal(printed)
		r.Must(err)
		b, err := json.Marshal(shown)
		r.Must(err)
		return string(a) == string(b) && story.Last != nil && story.Last.Status == order.Paid && story.Order == "o-p-1"
	})
	applied, events := 0, 0
	for _, e := range printed {
		if e.Outcome == string(order.Applied) {
			applied++
		}
		if e.Event != nil {
			events++
		}
	}
	if applied != 2 || events != 2 {
		t.Errorf("%d look-ups made an event, and %d events have a body: %+v", applied, events, printed)
	}
	if _, err := d.Story(r.Ctx, r.Unit("unknown"), 100); !errors.Is(err, ErrNothingKnown) {
		t.Errorf("an unknown payment: %v", err)
	}
}

// A look-up whose events were compacted is judged from the last event before it.
func TestLookUpsAreJudgedByTheLogBeforeThem(t *testing.T) {
	t.Parallel()
	from := order.Pending
	seen := func(sequence uint64, status order.Status) Entry {
		return Entry{What: whatLookUp, Sequence: sequence, observation: &order.Observation{Kind: order.Payment, Status: status, Confirmed: true}}
	}
	line := []Entry{
		{What: whatEvent, Event: &order.Event{Kind: order.Payment, Status: order.Paid, From: &from, Observation: 3}},
		seen(5, order.Paid), seen(6, order.Pending), seen(7, ""), seen(8, order.Refunded),
		{What: whatEvent, Event: &order.Event{Kind: order.Payment, Status: order.Refunded, Observation: 8}},
	}
	judge(line, everything())
	for i, want := range []order.Outcome{"", order.Unchanged, order.Late, order.UnknownWord, order.Applied, ""} {
		if got := line[i].Outcome; got != string(want) {
			t.Errorf("entry %d: %q, want %q", i, got, want)
		}
	}
}

func TestStoryHasTheNewestMessagesOfEachStream(t *testing.T) {
	t.Parallel()
	r := idle(t)
	for n := range 9 {
		r.refer("p-1", "")
		r.Notify(record.Notification{ID: fmt.Sprintf("n-%d", n), Payment: "p-1", Order: "o-p-1"})
	}
	r.putDeadLetter(record.StageLookup, "p-1", 8)
	cfg, err := config.Load(r.config, os.LookupEnv, providers.All)
	r.Must(err)
	d, err := Open(r.Ctx, r.JS, cfg, r.Tokens, "")
	r.Must(err)
	newest, err := d.Story(r.Ctx, r.Unit("p-1"), 4)
	r.Must(err)
	count := map[string]int{}
	for _, e := range newest.Entries {
		count[e.What]++
		if e.What != whatDeadLetter && e.Sequence < 6 || e.Outcome != "" {
			t.Errorf("it has %+v", e)
		}
	}
	if count[whatNotification] != 4 || count[whatLookUp] != 4 || count[whatDeadLetter] != 1 || !slices.Equal(newest.Older, []string{subject.Notifications, subject.Statuses}) {
		t.Errorf("it has %v, and older ones are in %v", count, newest.Older)
	}
	if newest.Unasked != 9 { // The dead letter is of the webhook before it.
		t.Errorf("webhook %d is not looked up", newest.Unasked)
	}
	r.putDeadLetter(record.StageLookup, "p-1", 9)
	whole, err := d.Story(r.Ctx, r.Unit("p-1"), 9)
	r.Must(err)
	if len(whole.Entries) != 20 || whole.Older != nil || whole.Unasked != 0 {
		t.Errorf("it has %d entries, older ones are in %v, and webhook %d is not looked up", len(whole.Entries), whole.Older, whole.Unasked)
	}
}

func TestReasonOfADiscardIsInTheAudit(t *testing.T) {
	t.Parallel()
	r := idle(t)
	letter := record.DeadLetter{
		ID: "STATUSES-1", Class: record.ClassData, Stage: record.StageNormalize, Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1",
		Cause: "a test", LastAnswer: "answered", Stream: subject.Statuses, Sequence: 1, Next: "nothing", At: r.Stream(subject.DeadLetters).CachedInfo().TimeStamp.UTC(),
	}
	r.Publish(r.Unit("p-1").DeadLetter(string(letter.Class), letter.Stage), letter)
	r.run(ExitRefused, "dead", "discard", "STATUSES-1", "--reason", "told by ana@example.com")
	r.run(ExitDone, "dead", "discard", "STATUSES-1", "--reason", "a duplicate")
	if all := r.audits(); len(all) != 1 || all[0].What != "give up a dead letter: a duplicate" {
		t.Errorf("AUDIT has %+v", all)
	}
}
