package reconcile_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tests/reconcile"
	"arauto/schemas/order"
	"arauto/schemas/record"
)

// noon is when the streams of these tests begin; each message is a second
// after the one before it.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// hand makes the streams of one payment by hand.
type hand struct {
	reconcile.Streams
	clock int
}

func (h *hand) tick() time.Time {
	h.clock++
	h.Read = noon.Add(time.Duration(h.clock) * time.Second)
	return h.Read
}

// notified stores a notification; its id is that of its sequence.
func (h *hand) notified(sequence uint64) *hand {
	at := h.tick()
	h.Notifications = append(h.Notifications, reconcile.Stored[record.Notification]{Sequence: sequence, At: at, Record: record.Notification{
		ID: id(sequence), Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", ReceivedAt: at,
	}})
	return h
}

func id(sequence uint64) string { return "n" + string(rune('0'+sequence)) }

// observed stores an answer that a notification prompted.
func (h *hand) observed(sequence uint64, status order.Status, prompted, covers uint64) *hand {
	asked := h.tick()
	h.Observations = append(h.Observations, reconcile.Stored[order.Observation]{Sequence: sequence, At: h.tick(), Record: order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Order: "o", Status: status, ProviderStatus: "word",
		Confirmed: true, Cause: order.CauseNotification, AskedAt: asked, AnsweredAt: asked, Covers: covers, Notification: id(prompted),
	}})
	return h
}

// swept stores an answer that sweep asked for. It may name a notification
// that the parked look-up stood for.
func (h *hand) swept(sequence uint64, status order.Status, named string, covers uint64) *hand {
	h.observed(sequence, status, 0, covers)
	last := &h.Observations[len(h.Observations)-1].Record
	last.Cause, last.Notification = order.CauseSweep, named
	return h
}

// announced stores the event of a transition.
func (h *hand) announced(observation uint64, from, to order.Status) *hand {
	number := uint64(len(h.Events) + 1)
	e := order.Event{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Order: "o",
		Transition: number, Status: to, Final: order.Payment.Final(to), Confirmed: true, Observation: observation,
	}
	if from != "" {
		e.From = &from
	}
	h.Events = append(h.Events, reconcile.Stored[order.Event]{Sequence: number, At: h.tick(), Record: e})
	return h
}

// parked stores a schedule that stands for a notification.
func (h *hand) parked(stands uint64, due time.Duration) *hand {
	at := h.tick()
	h.Parked = append(h.Parked, reconcile.Stored[record.ScheduledLookUp]{Sequence: 1, At: at, Record: record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Payment: "p", Covers: stands, Cause: order.CauseNotification, Reason: "transport", DueAt: at.Add(due),
	}})
	return h
}

// dead stores a dead letter of a look-up.
func (h *hand) dead(sequence uint64, answer string) *hand {
	stands := sequence
	if answer == "none" {
		stands = 0
	}
	return h.letter(record.DeadLetter{
		ID: "NOTIFICATIONS-" + id(sequence), Covers: stands, Class: record.ClassProvider, Stage: "lookup", Cause: "it is down", Next: "redrive",
		LastAnswer: answer, Stream: "NOTIFICATIONS", Sequence: sequence,
	})
}

// redriven stores the last dead letter once more, as an operator marks it.
func (h *hand) redriven() *hand {
	marker := h.Letters[len(h.Letters)-1].Record
	marker.State = record.Redriven
	return h.letter(marker)
}

// refused stores a dead letter about an observation.
func (h *hand) refused(observation uint64) *hand {
	return h.letter(record.DeadLetter{
		ID: "STATUSES-" + id(observation), Class: record.ClassData, Stage: "normalize", Cause: "no edge", Next: "compare",
		LastAnswer: "answered", Stream: "STATUSES", Sequence: observation, Observation: observation, ProviderStatus: "word",
	})
}

func (h *hand) letter(l record.DeadLetter) *hand {
	l.Provider, l.Account, l.Payment = "sandbox", "default", "p"
	h.Letters = append(h.Letters, reconcile.Stored[record.DeadLetter]{Sequence: uint64(len(h.Letters) + 1), At: h.tick(), Record: l})
	return h
}

func made() *hand { return &hand{} }

// paid is a payment that was answered once and announced.
func paid() *hand {
	return made().notified(1).observed(1, order.Paid, 1, 1).announced(1, "", order.Paid)
}

func TestEveryEndHasItsCategory(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		streams *hand
		want    []reconcile.Category
	}{
		"transition":                          {paid(), []reconcile.Category{reconcile.Event}},
		"repeated under the first one's name": {paid().notified(2).observed(2, order.Paid, 1, 2), []reconcile.Category{reconcile.Event, reconcile.Superseded}},
		"same answer":                         {paid().notified(2).observed(2, order.Paid, 2, 2), []reconcile.Category{reconcile.Event, reconcile.Unchanged}},
		"stale answer": {
			paid().notified(2).observed(2, order.Pending, 2, 2), []reconcile.Category{reconcile.Event, reconcile.Late},
		},
		"answered by a later one's ask": {
			made().notified(1).notified(2).observed(1, order.Paid, 2, 2).announced(1, "", order.Paid),
			[]reconcile.Category{reconcile.Superseded, reconcile.Event},
		},
		"waiting":                {made().notified(1).parked(1, time.Hour), []reconcile.Category{reconcile.Parked}},
		"waiting for both":       {made().notified(1).notified(2).parked(2, time.Hour), []reconcile.Category{reconcile.Parked, reconcile.Parked}},
		"waiting for a second":   {disputed().notified(3).observed(3, order.Paid, 3, 3).parked(3, time.Second), []reconcile.Category{reconcile.Event, reconcile.Event, reconcile.Parked}},
		"second given up":        {disputed().notified(3).observed(3, order.Paid, 3, 3).dead(3, "not_found"), []reconcile.Category{reconcile.Event, reconcile.Event, reconcile.Dead}},
		"confirmed by a second":  {returned(), []reconcile.Category{reconcile.Event, reconcile.Event, reconcile.Event, reconcile.Superseded}},
		"given up":               {made().notified(1).dead(1, "unavailable"), []reconcile.Category{reconcile.Dead}},
		"given up for both":      {made().notified(1).notified(2).dead(2, "unavailable"), []reconcile.Category{reconcile.Dead, reconcile.Dead}},
		"given up, then another": {made().notified(1).dead(1, "unavailable").notified(2).parked(2, time.Hour), []reconcile.Category{reconcile.Dead, reconcile.Parked}},
		"given up, then answered for another": {
			made().notified(1).dead(1, "not_found").notified(2).observed(1, order.Paid, 2, 2).announced(1, "", order.Paid),
			[]reconcile.Category{reconcile.Dead, reconcile.Event},
		},
		"given up, redriven and answered": {
			made().notified(1).dead(1, "unavailable").redriven().observed(1, order.Paid, 0, 1).announced(1, "", order.Paid),
			[]reconcile.Category{reconcile.Dead},
		},
		"answered for sweep": {
			made().notified(1).swept(1, order.Paid, "", 1).announced(1, "", order.Paid), []reconcile.Category{reconcile.Superseded},
		},
		"asked again by sweep": {
			paid().swept(2, order.Paid, id(1), 1).notified(2).observed(3, order.Paid, 2, 2), []reconcile.Category{reconcile.Event, reconcile.Unchanged},
		},
		"found lost by sweep": {
			paid().swept(2, order.Refunded, "", 1).announced(2, order.Paid, order.Refunded), []reconcile.Category{reconcile.Event},
		},
		"illegal answer": {paid().notified(2).observed(2, order.Refused, 2, 2).refused(2), []reconcile.Category{reconcile.Event, reconcile.Dead}},
		"unknown word":   {made().notified(1).observed(1, "", 1, 1).refused(1), []reconcile.Category{reconcile.Dead}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "illegal answer" { // It is insisted on at once.
				c.streams.Spans = order.Spans{Return: order.Standard.Return}
			}
			l := reconcile.Audit(c.streams.Streams, nil)
			for _, f := range l.Findings {
				t.Errorf("%s\n\t%s", f.Text, strings.Join(f.Timeline, "\n\t"))
			}
			var got []reconcile.Category
			for _, r := range l.Rows {
				got = append(got, r.Category)
				if (r.Category == reconcile.Dead || r.Category == reconcile.Parked) && r.Why == "" {
					t.Errorf("notification %d is %s without a cause", r.Sequence, r.Category)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("ended as %v, want %v", got, c.want)
			}
		})
	}
}

func disputed() *hand {
	return paid().notified(2).observed(2, order.Disputed, 2, 2).announced(2, order.Paid, order.Disputed)
}

// returned is a dispute that was won: two answers agree on it.
func returned() *hand {
	return disputed().notified(3).observed(3, order.Paid, 3, 3).notified(4).observed(4, order.Paid, 5, 4).announced(4, order.Disputed, order.Paid)
}

func TestWhatMustNotBeIsFound(t *testing.T) {
	t.Parallel()
	renumbered := paid()
	renumbered.Events[0].Record.Transition = 2
	early := made().notified(1)
	early.observed(1, order.Paid, 1, 1).announced(1, "", order.Paid).notified(2)
	early.Observations[0].Record.Covers = 2
	wordless := made().notified(1).letter(record.DeadLetter{ID: "NOTIFICATIONS-1", Class: record.ClassOurs, Stage: "lookup", Stream: "NOTIFICATIONS", Sequence: 1})
	skipped := disputed()
	skipped.Events = skipped.Events[1:]
	for name, c := range map[string]struct {
		streams *hand
		truth   reconcile.Truth
		want    string
	}{
		"forgotten":               {made().notified(1), reconcile.Truth{}, "notification 1 ended as nothing"},
		"forgotten behind an end": {paid().notified(2), reconcile.Truth{}, "notification 2 ended as nothing"},
		"given up and waiting":    {made().notified(1).dead(1, "unavailable").parked(1, time.Hour), reconcile.Truth{}, "notification 1 ended twice: dead letter and parked"},
		"letter for itself alone": {made().notified(1).notified(2).dead(2, "none"), reconcile.Truth{}, "notification 1 ended as nothing"},
		"letter without a cause":  {wordless, reconcile.Truth{}, "notification 1 ended as nothing"},
		"stuck schedule":          {stuck(), reconcile.Truth{}, "notification 1 ended as nothing"},
		"illegal without letter":  {paid().notified(2).observed(2, order.Refused, 2, 2), reconcile.Truth{}, "notification 2 ended as nothing"},
		"no event":                {made().notified(1).observed(1, order.Paid, 1, 1), reconcile.Truth{}, "observation 1 made a transition to paid, of which there is no event"},
		"event twice":             {paid().announced(1, order.Paid, order.Paid), reconcile.Truth{}, "event 2 to paid has no transition behind it"},
		"gap in the numbers":      {renumbered, reconcile.Truth{}, `event 1 is transition 2 from "" to paid, want 1 from "" to paid`},
		"event left out":          {skipped, reconcile.Truth{}, "event 2 is folded from observation 2, the next transition is that of 1"},
		"joined an older ask":     {early, reconcile.Truth{}, "notification 2 was stored after the ask of observation 1 began, which claims to answer it"},
		"covers less": {
			made().notified(1).notified(2).observed(1, order.Paid, 2, 2).observed(2, order.Paid, 1, 1).announced(1, "", order.Paid),
			reconcile.Truth{}, "observation 2 covers 1, the one before it 2",
		},
		"answered twice":    {paid().observed(2, order.Paid, 1, 1), reconcile.Truth{}, "notification 1 was answered twice, again by observation 2"},
		"given up twice":    {made().notified(1).dead(1, "unavailable").dead(1, "unavailable"), reconcile.Truth{}, "dead letter 2 repeats NOTIFICATIONS-n1"},
		"200 and not there": {paid(), reconcile.Truth{Accepted: 2}, "2 notifications were answered 200, 1 are stored"},
		"200 and nothing":   {made(), reconcile.Truth{Accepted: 1}, "1 notifications were answered 200, 0 are stored"},
		"another truth":     {paid(), reconcile.Truth{Status: order.Refunded, Refunded: 5}, "the provider says refunded with 5 refunded, the last event paid with 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			payment := reconcile.Payment{Provider: "sandbox", Account: "default", ID: "p"}
			l := reconcile.Audit(c.streams.Streams, map[reconcile.Payment]reconcile.Truth{payment: c.truth})
			var texts []string
			for _, f := range l.Findings {
				texts = append(texts, f.Text)
				if f.Payment != payment || len(c.streams.Notifications) > 0 && len(f.Timeline) == 0 {
					t.Errorf("finding about %s has the timeline %v", f.Payment, f.Timeline)
				}
			}
			if !slices.Contains(texts, c.want) {
				t.Errorf("found %q, want %q", texts, c.want)
			}
		})
	}
}

// stuck is a schedule that should have fired an hour before it was read.
func stuck() *hand {
	h := made().notified(1).parked(1, time.Second)
	h.Read = h.Read.Add(time.Hour)
	return h
}

func TestTruthIsNotAskedOfWhatWaitsOrWasGivenUp(t *testing.T) {
	t.Parallel()
	payment := reconcile.Payment{Provider: "sandbox", Account: "default", ID: "p"}
	for _, h := range []*hand{paid().notified(2).parked(2, time.Hour), paid().notified(2).dead(2, "unavailable")} {
		l := reconcile.Audit(h.Streams, map[reconcile.Payment]reconcile.Truth{payment: {Accepted: 2, Status: order.Refunded}})
		if len(l.Findings) > 0 {
			t.Errorf("found %q", l.Findings[0].Text)
		}
	}
}

func TestLedgerIsPrintedAsATable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	testbench.Must(t, reconcile.Audit(paid().notified(2).parked(2, time.Hour).Streams, nil).Print(&b))
	const want = `      accepted by  event  unchanged  late  superseded  parked  dead letter  sum
  sandbox/default      1          0     0           0       1            0    2
              all      1          0     0           0       1            0    2
      1  parked (transport)
`
	if b.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", b.String(), want)
	}
}
