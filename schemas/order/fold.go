package order

import "time"

// Outcome is what an observation meant for the payment's log.
type Outcome string

// The outcomes. A contradiction is Unconfirmed while a run of agreeing answers
// may still make it a transition; it is Late or Illegal while it may be a stale
// answer, and Insisted once the provider has kept contradicting the log for
// Spans.Correction: then a dead letter tells of it.
const (
	Applied     Outcome = "applied"
	Unchanged   Outcome = "unchanged"
	Late        Outcome = "late"
	Illegal     Outcome = "illegal"
	UnknownWord Outcome = "unknown_word"
	Unconfirmed Outcome = "unconfirmed"
	Insisted    Outcome = "insisted"
)

// Outcomes lists every outcome, in the order of their declaration.
func Outcomes() []Outcome {
	return []Outcome{Applied, Unchanged, Late, Illegal, UnknownWord, Unconfirmed, Insisted}
}

// Spans are how far apart the first and the last answer of a run must lie, by
// the broker's timestamps.
type Spans struct {
	Return     time.Duration // Two answers make a return edge.
	Correction time.Duration // Two answers make a correction; a contradiction that lasts so long is Insisted.
	Refund     time.Duration // Three answers take a refund back.
	Undecided  time.Duration // A contradiction that lasts so long without becoming a transition is Insisted.
}

// Standard are the spans of production. The first is longer than the lag of a
// provider's read replica; the others are the rules of corrections.
var Standard = Spans{Return: 500 * time.Millisecond, Correction: time.Minute, Refund: 15 * time.Minute, Undecided: 30 * time.Minute}

// Scaled returns s on a clock that runs scale times as fast, for tests. The span
// of a return edge stays, because it bounds a lag in real time, and Undecided is
// at least 5 s, because look-ups take as long as ever.
func (s Spans) Scaled(scale int) Spans {
	by := time.Duration(max(scale, 1))
	return Spans{Return: s.Return, Correction: s.Correction / by, Refund: s.Refund / by, Undecided: max(s.Undecided/by, 5*time.Second)}
}

// looks are when, after the first contradicting answer and in parts of
// Spans.Correction, the provider is asked again: after 2 s, 15 s and 60 s.
var looks = []int{30, 4, 1}

// Standing is where a payment stands while its observations are folded. The
// zero value is a payment of which nothing is known yet.
type Standing struct {
	Kind     Kind
	Status   Status // "" before the first event.
	Refunded int64  // Minor units.

	currency   string // "" while no amount is known.
	value      int64  // Minor units, before refunds: captured, or authorized while nothing was captured.
	authorized int64  // Minor units, 0 while the provider has not named it.
	captured   bool   // The log has said that money was captured, so value is fixed.
	corrected  Status // What the last event corrected, "" where it was no correction.

	run   run
	runs  doubt // Of answers that began or went on with a run.
	doubt doubt
	told  bool // A contradiction was Insisted, and no answer has agreed since.
}

// doubt is a series of answers that contradict the log, with none between them
// that agrees and no pause longer than Spans.Undecided. The zero doubt is none.
type doubt struct{ since, last time.Time }

// goesOn is d after one more contradiction. A broker's clock that was set back
// begins the series anew.
func (d doubt) goesOn(at time.Time, pause time.Duration) doubt {
	if d.since.IsZero() || at.Before(d.since) || at.Sub(d.last) > pause {
		d.since = at
	}
	d.last = at
	return d
}

// run is a series of agreeing answers that contradict the log.
type run struct {
	status  Status
	sum     int64
	since   time.Time // Broker's timestamp of the first.
	answers int
	span    time.Duration // How long it must last.
	needed  int           // How many answers it needs.

	correction bool // It leads over a correction.
}

// StandingOf is the standing that a payment's last event leaves behind.
func StandingOf(e *Event) Standing {
	if e == nil {
		return Standing{}
	}
	s := Standing{Kind: e.Kind, Status: e.Status, captured: captured(e.Status) || e.From != nil && captured(*e.From)}
	if e.Amount != nil {
		s.Refunded, s.currency, s.value, s.authorized = e.Amount.Refunded, e.Amount.Currency, e.Amount.Value, e.Amount.Authorized
	}
	if e.Correction && e.From != nil {
		s.corrected = *e.From
	}
	return s
}

// EverPaid reports whether the log, as far as it was read, has said that money was
// captured.
func (s Standing) EverPaid() bool { return s.captured }

// Paid is s for a log that has said so in an event before the last one.
func (s Standing) Paid() Standing {
	s.captured = true
	return s
}

// Corrected reports whether the last transition was a correction.
func (s Standing) Corrected() bool { return s.corrected != "" }

// Told reports whether the provider has insisted on a contradiction that no
// later answer has taken back.
func (s Standing) Told() bool { return s.told }

// Doubted is when the provider began to contradict the log, zero when its last
// answer agrees.
func (s Standing) Doubted() time.Time { return s.doubt.since }

// Fold is FoldWithin with the Standard spans.
func (s Standing) Fold(o Observation, at time.Time) (Standing, Outcome) {
	return s.FoldWithin(Standard, o, at)
}

// FoldWithin says what o means for a payment that stands at s, and where it
// stands afterwards. Only Applied changes status or refunded sum. The timestamp
// is the broker's for o. It is a pure function of the log, so every worker that
// folds the same observations comes to the same events.
func (s Standing) FoldWithin(spans Spans, o Observation, at time.Time) (Standing, Outcome) {
	lone := s
	lone.run = run{}
	if o.Status == "" {
		return lone, UnknownWord
	}
	o, same := s.agree(o)
	if !o.Kind.Knows(o.Status) || s.Status != "" && o.Kind != s.Kind || !same {
		return lone.contradicted(spans, o, at, Illegal)
	}
	sum := s.sumAfter(o)
	switch step, span, needed := s.step(spans, o.Status, sum); step {
	case onward:
		if s.Status == "" {
			lone.Kind = o.Kind
		}
		return lone.moved(o, sum), Applied
	case stays:
		lone.runs, lone.doubt, lone.told = doubt{}, doubt{}, false
		return lone, Unchanged
	case goesBack, corrects:
		if o.Confirmed {
			return s.accept(spans, o, run{o.Status, sum, at, 1, span, needed, step == corrects})
		}
		if step == goesBack { // A webhook that cannot be confirmed by asking may only have come late.
			return lone, Late
		}
		return lone.contradicted(spans, o, at, Illegal)
	case behind:
		if !o.Confirmed {
			return lone, Late
		}
		return lone.contradicted(spans, o, at, Late)
	default:
		return lone.contradicted(spans, o, at, Illegal)
	}
}

// step is how an observation relates to where the payment stands.
type step int

const (
	impossible step = iota
	onward          // Over forward edges, or a larger refunded sum.
	stays           // Nothing new.
	goesBack        // Over a return edge.
	corrects        // Over a correction.
	behind          // A word that the payment has left behind.
)

// step also returns how long the run of agreeing answers must last and how many
// it needs, where it needs one. The word of a status that moves on is newer than
// ours even when it repeats a smaller sum; what was given back stays given back.
func (s Standing) step(spans Spans, to Status, sum int64) (kind step, span time.Duration, needed int) {
	less := sum < s.Refunded
	switch {
	case s.Status == "":
		return onward, 0, 0
	case to == s.Status && sum == s.Refunded:
		return stays, 0, 0
	case s.corrected != "" && to == s.corrected && (to != s.Status || sum > s.Refunded):
		// Back over a correction: the same run that led here.
		if span, needed = spans.Correction, 2; givesBack(s.corrected, s.Status) || to == s.Status {
			span, needed = spans.Refund, 3
		}
		return corrects, span, needed
	case to == s.Status && !less, s.Kind.Reachable(s.Status, to):
		return onward, 0, 0
	case s.Kind.Returns(s.Status, to):
		return goesBack, spans.Return, 2
	case to == s.Status, s.Kind.Corrects(s.Status, to) && (s.Status != PartiallyRefunded || less):
		if to == s.Status || less || givesBack(s.Status, to) {
			return corrects, spans.Refund, 3
		}
		return corrects, spans.Correction, 2
	case sum <= s.Refunded && s.Kind.Reachable(to, s.Status):
		return behind, 0, 0
	}
	// An earlier word with a larger sum is impossible too: sums only grow, so that
	// answer is no older than ours, and a refund must not pass in silence.
	return impossible, 0, 0
}

// givesBack reports whether from to to says that a refund was taken back.
func givesBack(from, to Status) bool {
	return from == Refunded && (to == Paid || to == PartiallyRefunded) || from == PartiallyRefunded && (to == Paid || to == Settled)
}

// accept goes on with a run of agreeing answers, and moves once it is long
// enough. next is the run that o begins.
func (s Standing) accept(spans Spans, o Observation, next run) (Standing, Outcome) {
	at := next.since
	if s.run.status == next.status && s.run.sum == next.sum && s.run.answers > 0 && !at.Before(s.run.since) {
		next.since, next.answers = s.run.since, s.run.answers+1
	}
	if next.answers >= next.needed && at.Sub(next.since) >= next.span {
		from := s.Status
		s = s.moved(o, next.sum)
		if next.correction {
			s.corrected = from
		}
		return s, Applied
	}
	// Contradictions that began before the first run do not count: a correction has
	// its whole time whatever the provider said before.
	s.run, s.runs, s.doubt = next, s.runs.goesOn(at, spans.Undecided), s.doubt.goesOn(at, spans.Undecided)
	if at.Sub(s.runs.since) >= spans.Undecided {
		s.told = true
		return s, Insisted
	}
	return s, Unconfirmed
}

// contradicted is s after an answer that cannot be a transition. The provider
// insists when it has contradicted the log for Spans.Correction, whatever its
// words were. An answer that asking cannot confirm is not asked about again.
func (s Standing) contradicted(spans Spans, o Observation, at time.Time, means Outcome) (Standing, Outcome) {
	s.doubt = s.doubt.goesOn(at, spans.Undecided)
	if o.Confirmed && at.Sub(s.doubt.since) < spans.Correction {
		return s, means
	}
	s.told = true
	return s, Insisted
}

// Again says when the provider is to be asked again after an observation that
// was folded at a broker's timestamp with an outcome: zero for never. The answer
// to a run is due when the run is long enough, whatever was asked in between.
func (s Standing) Again(spans Spans, outcome Outcome, at time.Time) time.Time {
	switch outcome {
	case Unconfirmed:
		due := s.run.since.Add(s.run.span)
		if s.run.answers == 1 && s.run.needed > 2 {
			due = s.run.since.Add(spans.Correction)
		}
		if !due.After(at) {
			due = at.Add(min(s.run.span, spans.Correction))
		}
		return due
	case Late, Illegal:
		for _, part := range looks {
			if due := s.doubt.since.Add(spans.Correction / time.Duration(part)); due.After(at) {
				return due
			}
		}
	case Applied, Unchanged, UnknownWord, Insisted:
	}
	return time.Time{}
}

// moved is where the payment stands after o was applied with a refunded sum. An
// amount becomes the payment's own only with an event, because the event is what
// the next worker starts from.
func (s Standing) moved(o Observation, sum int64) Standing {
	s = Standing{
		Kind: s.Kind, Status: o.Status, Refunded: sum,
		currency: s.currency, value: s.value, authorized: s.authorized,
		captured: s.captured || captured(o.Status),
	}
	if o.Amount != nil {
		s.currency, s.value = o.Amount.Currency, o.Amount.Value
		if o.Amount.Authorized != 0 {
			s.authorized = o.Amount.Authorized
		}
	}
	return s
}
