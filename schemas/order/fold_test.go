package order_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/schemas/order"
)

func TestRefundedSumsOnlyGrow(t *testing.T) {
	t.Parallel()
	at := order.Standing{Kind: order.Payment, Status: order.PartiallyRefunded, Refunded: 500}
	for name, c := range map[string]struct {
		status  order.Status
		sum     int64
		outcome order.Outcome
		after   int64
	}{
		"more of the same word":  {order.PartiallyRefunded, 501, order.Applied, 501},
		"the same":               {order.PartiallyRefunded, 500, order.Unchanged, 500},
		"less of the same word":  {order.PartiallyRefunded, 499, order.Unconfirmed, 500},
		"another word with less": {order.Disputed, 0, order.Applied, 500},
		"another word with more": {order.Refunded, 10000, order.Applied, 10000},
		"a late word with more":  {order.Paid, 600, order.Illegal, 500},
		"a late word with ours":  {order.Paid, 500, order.Late, 500},
		"money as if never back": {order.Settled, 499, order.Unconfirmed, 500},
		"its word with less":     {order.Paid, 0, order.Unconfirmed, 500},
		"a late word with less":  {order.Authorized, 0, order.Late, 500},
	} {
		after, got := at.Fold(sample(order.Payment, c.status, c.sum), start)
		if got != c.outcome || after.Refunded != c.after {
			t.Errorf("%s is %s with %d, want %s with %d", name, got, after.Refunded, c.outcome, c.after)
		}
	}
	silent := sample(order.Payment, order.PartiallyRefunded, 0)
	silent.Amount = nil
	if after, got := at.Fold(silent, start); got != order.Unchanged || after.Refunded != 500 {
		t.Errorf("an answer without an amount is %s with %d", got, after.Refunded)
	}
}

// A refunded sum that is larger than the log's is either in an event
// afterwards, or a person hears of it.
func TestALargerRefundedSumIsNeverSilent(t *testing.T) {
	t.Parallel()
	for _, state := range order.Payment.Statuses() {
		for _, word := range order.Payment.Statuses() {
			s := order.Standing{Kind: order.Payment, Status: state, Refunded: 500}
			after, got := s.Fold(sample(order.Payment, word, 600), start)
			switch got {
			case order.Applied:
				if after.Refunded != 600 {
					t.Errorf("%s at %s leaves %d refunded", word, state, after.Refunded)
				}
			case order.Illegal, order.Unconfirmed: // A letter, or a second look that is parked.
			case order.Unchanged, order.Late, order.UnknownWord, order.Insisted:
				t.Errorf("%s with more refunded at %s is %s", word, state, got)
			}
		}
	}
}

func TestRefundedWithoutAnAmountIsTheWhole(t *testing.T) {
	t.Parallel()
	paid, _ := order.Standing{}.Fold(sample(order.Payment, order.Paid, 0), start)
	silent := sample(order.Payment, order.Refunded, 0)
	whole := silent.Amount.Value
	silent.Amount = nil
	after, got := paid.Fold(silent, start)
	if got != order.Applied || after.Refunded != whole || whole == 0 {
		t.Errorf("it is %s with %d, want %d", got, after.Refunded, whole)
	}
	if again, got := after.Fold(silent, start); got != order.Unchanged || again.Refunded != whole {
		t.Errorf("again it is %s with %d", got, again.Refunded)
	}
	if unknown, got := (order.Standing{}).Fold(silent, start); got != order.Applied || unknown.Refunded != 0 {
		t.Errorf("where no sum is known it is %s with %d", got, unknown.Refunded)
	}
}

func TestReturnEdgesNeedTwoAgreeingLooksFarEnoughApart(t *testing.T) {
	t.Parallel()
	type look struct {
		after   time.Duration
		status  order.Status
		sum     int64
		outcome order.Outcome
	}
	const gap = 500 * time.Millisecond
	for name, looks := range map[string][]look{
		"far enough":         {{0, order.Paid, 0, order.Unconfirmed}, {gap, order.Paid, 0, order.Applied}},
		"too close":          {{0, order.Paid, 0, order.Unconfirmed}, {gap - 1, order.Paid, 0, order.Unconfirmed}},
		"a run":              {{0, order.Paid, 0, order.Unconfirmed}, {gap - 1, order.Paid, 0, order.Unconfirmed}, {1, order.Paid, 0, order.Applied}},
		"a contradiction":    {{0, order.Paid, 0, order.Unconfirmed}, {gap, order.Disputed, 0, order.Unchanged}, {gap, order.Paid, 0, order.Unconfirmed}},
		"another way back":   {{0, order.Paid, 0, order.Unconfirmed}, {gap, order.Settled, 0, order.Unconfirmed}, {gap, order.Settled, 0, order.Applied}},
		"another sum":        {{0, order.PartiallyRefunded, 1, order.Unconfirmed}, {gap, order.PartiallyRefunded, 2, order.Unconfirmed}},
		"a word between":     {{0, order.Paid, 0, order.Unconfirmed}, {gap, "", 0, order.UnknownWord}, {gap, order.Paid, 0, order.Unconfirmed}},
		"something late":     {{0, order.Paid, 0, order.Unconfirmed}, {gap, order.Pending, 0, order.Late}, {gap, order.Paid, 0, order.Unconfirmed}},
		"a clock going back": {{0, order.Paid, 0, order.Unconfirmed}, {-gap, order.Paid, 0, order.Unconfirmed}},
		"and onwards":        {{0, order.Paid, 0, order.Unconfirmed}, {gap, order.Canceled, 0, order.Applied}},
	} {
		s, at := order.Standing{Kind: order.Payment, Status: order.Disputed}, start
		for i, l := range looks {
			var got order.Outcome
			at = at.Add(l.after)
			if s, got = s.Fold(sample(order.Payment, l.status, l.sum), at); got != l.outcome {
				t.Errorf("%s: look %d is %s, want %s", name, i, got, l.outcome)
			}
		}
	}
	if order.Standard.Return != gap {
		t.Errorf("the gap is %s", order.Standard.Return)
	}
}

// entry is one observation and the broker's time for it.
type entry struct {
	o  order.Observation
	at time.Time
}

func drawLog(t *rapid.T) []entry {
	kind := rapid.SampledFrom(order.Kinds()).Draw(t, "kind")
	words := append(kind.Statuses(), "")
	at := start
	log := make([]entry, rapid.IntRange(1, 40).Draw(t, "length"))
	for i := range log {
		word := rapid.SampledFrom(words).Draw(t, "word")
		if i > 0 && rapid.IntRange(0, 2).Draw(t, "other") > 0 {
			word = log[i-1].o.Status // Runs of agreeing answers are what takes long to find.
		}
		o := sample(kind, word, rapid.SampledFrom([]int64{0, 0, 0, 1, 2}).Draw(t, "sum"))
		if rapid.IntRange(0, 5).Draw(t, "silent") == 0 {
			o.Amount = nil
		}
		at = at.Add(rapid.SampledFrom([]time.Duration{0, 200, 499, 500, 5000, 30000, 60000, 450000, 900000}).Draw(t, "gap") * time.Millisecond)
		log[i] = entry{o, at}
	}
	return log
}

// events folds a log from where the last event left off, as normalize does.
func events(log []entry, from *order.Event) []order.Event {
	s, last := order.StandingOf(from), from
	var all []order.Event
	for i, e := range log {
		sequence := uint64(i + 1)
		if from != nil && sequence <= from.Observation {
			continue
		}
		var outcome order.Outcome
		if s, outcome = s.Fold(e.o, e.at); outcome != order.Applied {
			continue
		}
		event := order.Announce(last, e.o, sequence, s)
		all, last = append(all, event), &event
	}
	return all
}

// TestALogEndsInTheLastLegallyObservedState compares the fold with the
// simplest reading of the grids that keeps whole histories.
func TestALogEndsInTheLastLegallyObservedState(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t)
		l := history{cells: grid(t, log[0].o.Kind)}
		want := 0
		for i := range log {
			if l.moves(log[:i+1]) {
				want++
			}
		}
		all := events(log, nil)
		if len(all) != want {
			t.Fatalf("%d events, want %d", len(all), want)
		}
		if want == 0 {
			return
		}
		end := order.StandingOf(&all[want-1])
		if end.Status != l.state || (all[want-1].Amount != nil && end.Refunded != l.sum) || all[want-1].Correction != (l.corrected != "") {
			t.Fatalf("the log ends %s with %d (correction %v), want %s with %d, corrected %q", end.Status, end.Refunded, all[want-1].Correction, l.state, l.sum, l.corrected)
		}
	})
}

// history is where a payment stands by the grids, with the observations that
// came after its last event.
type history struct {
	cells      map[order.Status]map[order.Status]string
	state      order.Status
	sum, value int64
	corrected  order.Status
	since      int // Index of the first observation after the last event.
}

// moves applies the last entry if it moves the payment, given everything before.
func (h *history) moves(log []entry) bool {
	now := log[len(log)-1]
	if now.o.Status == "" {
		return false
	}
	given := reported(now.o, h.sum, h.value)
	correction := false
	if h.state != "" {
		letter := h.cells[h.state][now.o.Status]
		back := h.corrected == now.o.Status && (now.o.Status != h.state || given > h.sum)
		if !back && (letter == "A" || letter == "U" && given > h.sum) {
			given = max(given, h.sum)
		} else if way, ok := h.way(letter, now.o.Status, given, back); !ok || !h.agreed(log, given, way) {
			return false
		} else {
			correction = way.correction
		}
		given = h.kept(now.o.Status, given)
	}
	h.corrected = ""
	if correction {
		h.corrected = h.state
	}
	h.state, h.sum, h.since = now.o.Status, given, len(log)
	if now.o.Amount != nil {
		h.value = now.o.Amount.Value
	}
	return true
}

// way is what a step that needs a run needs.
type way struct {
	span       time.Duration
	answers    int
	correction bool
}

func (h *history) way(letter string, to order.Status, given int64, back bool) (way, bool) { //nolint:revive // The way back is a cell of the same grid.
	from := h.state
	if back {
		from, to = h.corrected, h.state // The same run that led here.
	}
	long := way{15 * time.Minute, 3, true}
	switch {
	case back && from == to:
		return long, true
	case from == order.Refunded && (to == order.Paid || to == order.PartiallyRefunded):
		return long, true
	case from == order.PartiallyRefunded && (to == order.Paid || to == order.Settled):
		return long, back || given < h.sum
	case letter == "R" && !back:
		return way{500 * time.Millisecond, 2, false}, true
	case !back && h.kept(to, given) < h.sum && (letter == "C" || letter == "U"):
		return long, true
	case back, letter == "C":
		return way{time.Minute, 2, true}, true
	}
	return way{}, false
}

// kept is a refunded sum under a new word that keeps what was given back.
func (h *history) kept(word order.Status, sum int64) int64 {
	if word != h.state && (h.cells[h.state][word] == "A" || word == order.Disputed || word == order.ChargedBack) {
		return max(sum, h.sum)
	}
	return sum
}

// agreed reports whether the observations since the last event end in a run
// that is long enough.
func (h *history) agreed(log []entry, given int64, w way) bool {
	now, answers := log[len(log)-1], 1
	given = h.kept(now.o.Status, given)
	first := now.at
	for i := len(log) - 2; i >= h.since; i-- {
		before := h.kept(log[i].o.Status, reported(log[i].o, h.sum, h.value))
		if log[i].o.Status != now.o.Status || before != given {
			break
		}
		first, answers = log[i].at, answers+1
	}
	return answers >= w.answers && now.at.Sub(first) >= w.span
}

func reported(o order.Observation, known, value int64) int64 {
	switch {
	case o.Amount != nil:
		return o.Amount.Refunded
	case o.Status == order.Refunded:
		return max(known, value)
	}
	return known
}

// TestALogFoldsTheSameFromEveryEvent lets a worker die after any event: who
// goes on from there must write what the first would have written.
func TestALogFoldsTheSameFromEveryEvent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t)
		all := events(log, nil)
		for i := range all {
			if all[i].Transition != uint64(i+1) {
				t.Fatalf("event %d has the number %d", i+1, all[i].Transition)
			}
			rest := events(log, &all[i])
			if len(rest) != len(all)-i-1 {
				t.Fatalf("from event %d there are %d more, want %d", i+1, len(rest), len(all)-i-1)
			}
			for j := range rest {
				if rest[j].ID() != all[i+1+j].ID() || rest[j].Status != all[i+1+j].Status || rest[j].Transition != all[i+1+j].Transition {
					t.Fatalf("from event %d, event %d differs", i+1, i+2+j)
				}
			}
		}
	})
}
