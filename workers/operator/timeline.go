package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
)

// The kinds of entries of a timeline.
const (
	whatNotification = "notification"
	whatLookUp       = "look-up" // The provider answered.
	whatFailed       = "failed"  // A failed look-up.
	whatPayload      = "payload" // The payload was trusted, because there is no look-up.
	whatParked       = "parked"
	whatDue          = "due" // It has fired and is not acknowledged.
	whatEvent        = "event"
	whatDeadLetter   = "dead letter"
	whatExpected     = "expected" // A service has announced the payment, or has withdrawn that.
	whatOutcome      = "outcome"  // What came of an expectation.
)

// Entry is one line of a timeline.
type Entry struct {
	At             time.Time  `json:"at"` // The broker's timestamp.
	Payment        string     `json:"payment"`
	What           string     `json:"what"`
	Sequence       uint64     `json:"sequence"` // In its stream.
	ID             string     `json:"id,omitempty"`
	Order          string     `json:"order,omitempty"`
	Cause          string     `json:"cause,omitempty"`
	Reason         string     `json:"reason,omitempty"`
	From           string     `json:"from,omitempty"`
	Status         string     `json:"status,omitempty"`
	ProviderStatus string     `json:"provider_status,omitempty"`
	Transition     uint64     `json:"transition,omitempty"`
	AskedAt        *time.Time `json:"asked_at,omitempty"`
	AnsweredAt     *time.Time `json:"answered_at,omitempty"`
	DueAt          *time.Time `json:"due_at,omitempty"`
	Attempts       int        `json:"attempts,omitempty"`
	Class          string     `json:"class,omitempty"`
	Stage          string     `json:"stage,omitempty"`
	State          string     `json:"state,omitempty"`
	By             string     `json:"by,omitempty"`
	Next           string     `json:"next,omitempty"`
	HTTP           int        `json:"http_status,omitempty"` // Of a failed look-up, 0 without an answer.
	Said           string     `json:"said,omitempty"`        // The status word of a notification. It is a hint.
	Outcome        string     `json:"outcome,omitempty"`     // What a look-up meant for the log (order.Outcome), or what came of an expectation (expectation.Word).
	Unreadable     bool       `json:"unreadable,omitempty"`  // It does not decode; only subject and sequence are known.
	Subject        string     `json:"subject,omitempty"`     // Of an unreadable message.

	Version  string              `json:"version,omitempty"`  // Of an expectation; its outcomes have the same.
	Amount   *expectation.Amount `json:"amount,omitempty"`   // What is expected, nil where any sum will do.
	Deadline *time.Time          `json:"deadline,omitempty"` // Until when it must be paid, nil where the deployment's default holds.
	Paid     *expectation.Amount `json:"paid,omitempty"`     // What was captured, by an outcome.
	Other    string              `json:"other,omitempty"`    // The order's other paid payment, by an outcome.

	Event *order.Event `json:"event,omitempty"` // The body of an event, with hashed ids where these may be personal.

	observation *order.Observation // The body of a look-up.
	covers      uint64             // Highest NOTIFICATIONS sequence that is answered, waits or was given up, 0 for none.
}

// extent is how much of what is stored about a payment is read.
type extent struct {
	most  uint64          // Messages of each stream, the newest.
	older map[string]bool // The streams of which older ones were left out.
}

// everything reads all that is stored.
func everything() extent { return extent{most: math.MaxUint64, older: map[string]bool{}} }

// timeline reads what is stored about some payments, sorted by time.
func (s *Deployment) timeline(ctx context.Context, payments []payment, in extent) ([]Entry, error) {
	var line []Entry
	for _, p := range payments {
		begin := len(line)
		for _, read := range []func(context.Context, payment, extent) ([]Entry, error){
			s.notifications, s.observations, s.events, s.waiting, s.letters, s.expected,
		} {
			entries, err := read(ctx, p, in)
			if err != nil {
				return nil, err
			}
			for i := range entries {
				entries[i].Payment = s.name(p)
			}
			line = append(line, entries...)
		}
		judge(line[begin:], in)
	}
	line = onceFailed(line)
	slices.SortStableFunc(line, func(a, b Entry) int { return a.At.Compare(b.At) })
	return line, nil
}

// onceFailed drops repeated failed look-ups: they are stored with the scheduled look-up, and
// again with the observation or the dead letter that ended them.
func onceFailed(line []Entry) []Entry {
	type look struct {
		payment string
		at      time.Time
	}
	seen := map[look]bool{}
	return slices.DeleteFunc(line, func(e Entry) bool {
		l := look{e.Payment, e.At}
		if e.What != whatFailed {
			return false
		}
		again := seen[l]
		seen[l] = true
		return again
	})
}

// failedLookUps lists the failed look-ups of a document.
func failedLookUps(list []order.FailedLookUp) []Entry {
	var all []Entry
	for _, f := range list {
		all = append(all, Entry{
			At: f.At, What: whatFailed, Class: f.Class, Cause: f.Error, HTTP: f.HTTP, Attempts: f.Attempt, DueAt: f.Next,
		})
	}
	return all
}

// stored lists messages of a payment's subjects as entries that read returns, each after the
// failed look-ups that it records. A message that does not decode is an entry too.
func (s *Deployment) stored(ctx context.Context, name, on, what string, in extent, read func(*jetstream.RawStreamMsg) (Entry, []Entry, error)) (all []Entry, err error) {
	older, err := stream.EachNewest(ctx, s.streams[name], on, in.most, func(raw *jetstream.RawStreamMsg) (bool, error) {
		e, before, err := read(raw)
		if err != nil {
			e, before = Entry{What: what, Unreadable: true, Subject: raw.Subject}, nil
		}
		e.At, e.Sequence = raw.Time.UTC(), raw.Sequence
		all = append(append(all, before...), e)
		return true, nil
	})
	if err != nil {
		err = fmt.Errorf("read %s: %w", name, err)
	}
	if older {
		in.older[name] = true
	}
	return all, err
}

func (s *Deployment) notifications(ctx context.Context, p payment, in extent) ([]Entry, error) {
	return s.stored(ctx, subject.Notifications, p.unit.Notification(), whatNotification, in, func(raw *jetstream.RawStreamMsg) (Entry, []Entry, error) {
		var n record.Notification
		err := json.Unmarshal(raw.Data, &n)
		return Entry{What: whatNotification, ID: n.ID, Order: s.shown(n.Order), Said: s.shown(n.Fields[fieldStatus])}, nil, err
	})
}

func (s *Deployment) observations(ctx context.Context, p payment, in extent) ([]Entry, error) {
	return s.stored(ctx, subject.Statuses, p.unit.Status(), whatLookUp, in, func(raw *jetstream.RawStreamMsg) (Entry, []Entry, error) {
		var o order.Observation
		err := json.Unmarshal(raw.Data, &o)
		e := Entry{
			What: whatLookUp, Order: s.shown(o.Order), Cause: string(o.Cause),
			Status: string(o.Status), ProviderStatus: o.ProviderStatus, AskedAt: &o.AskedAt, AnsweredAt: &o.AnsweredAt,
		}
		e.observation, e.covers = &o, o.Covers
		if !o.Confirmed {
			e.What, e.AskedAt, e.AnsweredAt = whatPayload, nil, nil
		}
		return e, failedLookUps(o.FailedLookUps), err
	})
}

func (s *Deployment) events(ctx context.Context, p payment, in extent) ([]Entry, error) {
	return s.stored(ctx, subject.Orders, p.unit.Events(), whatEvent, in, func(raw *jetstream.RawStreamMsg) (Entry, []Entry, error) {
		v, err := observations.EventOf(raw)
		e := Entry{
			What: whatEvent, ID: v.ID(), Order: s.shown(v.Order),
			Status: string(v.Status), ProviderStatus: v.ProviderStatus, Transition: v.Transition,
		}
		if v.From != nil {
			e.From = string(*v.From)
		}
		e.Event = s.shownEvent(v)
		return e, nil, err
	})
}

// waiting reads the scheduled look-up and the due one.
func (s *Deployment) waiting(ctx context.Context, p payment, _ extent) ([]Entry, error) {
	var all []Entry
	for _, place := range []struct {
		what string
		read func(context.Context, string, string, string) (retry.Entry, error)
	}{{whatParked, s.retries.Read}, {whatDue, s.retries.ReadDue}} {
		at, err := place.read(ctx, p.unit.Provider, p.unit.Account, p.target.Payment)
		if err != nil {
			return nil, err
		}
		if at.Sequence == 0 {
			continue
		}
		all = append(all, failedLookUps(at.Parked.FailedLookUps)...)
		all = append(all, Entry{
			At: at.At.UTC(), What: place.what, Sequence: at.Sequence, Cause: string(at.Parked.Cause), Reason: at.Parked.Reason,
			DueAt: &at.Parked.DueAt, Attempts: at.Parked.Attempts, Unreadable: at.Unreadable, covers: at.Parked.Covers,
		})
	}
	return all, nil
}

func (s *Deployment) letters(ctx context.Context, p payment, in extent) (all []Entry, err error) {
	older, err := s.deadLetters.NewestOf(ctx, p.unit, in.most, func(l deadletter.Entry) error {
		all = append(all, failedLookUps(l.FailedLookUps)...)
		covers := l.Covers
		if l.Stream == subject.Notifications {
			covers = max(covers, l.DeadLetter.Sequence)
		}
		all = append(all, Entry{
			At: l.StoredAt.UTC(), What: whatDeadLetter, Sequence: l.Sequence, ID: l.ID, Class: string(l.Class), Stage: l.Stage,
			Cause: l.Cause, Attempts: l.Attempts, ProviderStatus: l.ProviderStatus, State: string(l.State), By: l.By, Next: l.Next, covers: covers,
		})
		return nil
	})
	if older {
		in.older[subject.DeadLetters] = true
	}
	return all, err
}

// shown is an id for people, "" for none.
func (s *Deployment) shown(id string) string {
	if id == "" {
		return ""
	}
	return s.tokens.Shown(id)
}

// text is the last column of an entry.
func (e Entry) text() string {
	if e.Unreadable {
		return strings.TrimSuffix(fmt.Sprintf("does not decode: sequence %d on %s", e.Sequence, e.Subject), " on ")
	}
	switch e.What {
	case whatLookUp:
		return fmt.Sprintf("%s (%s) because of %s, answered within %s", word(e.Status), e.ProviderStatus, e.Cause, e.AnsweredAt.Sub(*e.AskedAt))
	case whatFailed:
		text := fmt.Sprintf("%s: %s, attempt %d", e.Class, e.Cause, e.Attempts)
		if e.DueAt == nil {
			return text + ", given up"
		}
		return text + ", asked again at " + e.DueAt.Format(time.RFC3339Nano)
	case whatPayload:
		return fmt.Sprintf("%s (%s), without a look-up", word(e.Status), e.ProviderStatus)
	case whatEvent:
		return fmt.Sprintf("%s -> %s, transition %d of order %s", word(e.From), e.Status, e.Transition, e.Order)
	case whatParked, whatDue:
		return fmt.Sprintf("until %s because of %s, %d attempts, then asks because of %s",
			e.DueAt.Format(time.RFC3339Nano), e.Reason, e.Attempts, e.Cause)
	case whatDeadLetter:
		parts := []string{e.ID, e.Class, e.Stage, e.Cause, "next: " + e.Next}
		if e.State != "" {
			parts = append(parts[:3], e.State+" by "+e.By)
		}
		return strings.Join(parts, "; ")
	case whatExpected, whatOutcome:
		return e.expectedText()
	}
	return e.ID
}

func word(status string) string { return cmp.Or(status, "?") }
