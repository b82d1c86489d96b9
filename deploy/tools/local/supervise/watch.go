package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/time/rate"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// show puts a message on the screen.
type show func(on string, body []byte)

// watch prints, from now on, order events and what goes wrong between a webhook and its
// event: failed look-ups, dead letters, circuit breakers and pauses.
func (s *supervisor) watch(ctx context.Context) error {
	// Read from streams, because what compare-and-append refuses is on the subject too.
	for stream, show := range map[string]show{
		subject.Orders:      notes(s, rate.Inf, eventLine),
		subject.DeadLetters: notes(s, shownPerSecond, s.letterLine),
		subject.Circuits:    notes(s, shownPerSecond, circuitLine),
	} {
		consumer, err := s.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		reading, err := consumer.Consume(func(m jetstream.Msg) { show(m.Subject(), m.Data()) })
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		s.onStop(func() error { reading.Stop(); <-reading.Closed(); return nil })
	}
	// LOOKUP_RETRIES is a work queue, which allows no second consumer, and advisories are not
	// stored. The consumers of NOTIFICATIONS are paused together with those of LOOKUP_RETRIES.
	for on, show := range map[string]show{
		"lookup.parked.>": notes(s, shownPerSecond, s.scheduledLine),
		server.JSAdvisoryConsumerPausePre + "." + subject.LookupRetries + ".>": notes(s, shownPerSecond, pauseLine),
	} {
		if _, err := s.js.Conn().Subscribe(on, func(m *nats.Msg) { show(m.Subject, m.Data) }); err != nil {
			return fmt.Errorf("subscribe to %s: %w", on, err)
		}
	}
	return nil
}

// notes shows messages that are JSON of a T, each as a line unless that is "".
func notes[T any](s *supervisor, perSecond rate.Limit, line func(on string, message T) string) show {
	f := newFeed(s.screen, perSecond, "", "more such lines: bin/arauto status")
	return func(on string, body []byte) {
		var message T
		if err := json.Unmarshal(body, &message); err != nil {
			s.log.Warn("message.decode_failed", zap.String("subject", on), zap.Error(err))
			return
		}
		f.show(line(on, message))
	}
}

// How much of an account's name and of a dead letter's payment is shown at the most, and
// of a look-up's payment at the least, in characters, so that the line has room for the
// rest. The longest id that a provider documents has 36; the others are guesses.
const (
	longestAccount = 12
	longestID      = 36
	shortestID     = 8
)

// failing is what a provider does at a look-up. It has no words for a look-up that was
// not made: a rate limit only delays, and an open circuit breaker has a line of its own.
var failing = map[record.Failure]string{
	record.Transport:   "gives no answer about",
	record.Unavailable: "fails when asked about",
	record.Unreadable:  "answers unreadably about",
	record.Refused:     "refuses the question about",
	record.Throttled:   "asks to slow down at",
	record.Credential:  "refuses the credential for",
	record.NotFound:    "does not know",
	record.Ours:        "could not be asked about",
}

// scheduledLine says why a look-up is scheduled, "" where nothing has failed.
func (s *supervisor) scheduledLine(_ string, p record.ScheduledLookUp) string {
	does, failed := failing[record.Failure(p.Reason)]
	if !failed {
		return ""
	}
	clock := "15:04:05"
	if time.Until(p.DueAt) > 20*time.Hour {
		clock = "Jan 2 15:04"
	}
	before, after := p.Provider+" "+does+" payment ", "; asked again at "+p.DueAt.Local().Format(clock)
	if p.Account != "default" {
		after = " of " + plain(p.Account, longestAccount) + after
	}
	room := max(maxLine-len(clockFormat+"  "+before+after), shortestID)
	return before + plain(s.tokens.Shown(p.Payment), room) + after
}

// letterLine is a dead letter, or what became of it.
func (s *supervisor) letterLine(_ string, l record.DeadLetter) string {
	if l.State != record.Open {
		return fmt.Sprintf("dead letter %s is %s", l.ID, l.State)
	}
	return fmt.Sprintf("dead letter %s (%s): %s/%s payment %s: %s", l.ID, l.Class, l.Provider, plain(l.Account, longestAccount),
		plain(s.tokens.Shown(l.Payment), longestID), l.Cause)
}

// circuitLine is a circuit breaker that opened or closed, "" for its probes.
func circuitLine(_ string, c record.Circuit) string {
	of := fmt.Sprintf("circuit of %s/%s is ", c.Provider, c.Account)
	switch {
	case c.State == record.CircuitOpen && c.Probes == 0 && c.OfHost():
		return of + fmt.Sprintf("open (%s): look-ups there wait", c.Cause)
	case c.State == record.CircuitOpen && c.Probes == 0:
		return of + fmt.Sprintf("open (%s): the account's look-ups wait", c.Cause)
	case c.State == record.CircuitClosed:
		return of + fmt.Sprintf("closed again (%s)", c.Cause)
	}
	return ""
}

// pauseLine is the beginning or the end of a pause of a provider's look-ups.
func pauseLine(_ string, a server.JSConsumerPauseAdvisory) string {
	provider, due := strings.CutPrefix(a.Consumer, subject.LookupDueConsumer(""))
	switch {
	case !due:
		return ""
	case a.Paused:
		return fmt.Sprintf("%s answers no account: its look-ups are paused until %s", provider, a.PauseUntil.Local().Format("15:04:05"))
	}
	return provider + " is asked again: its look-ups are not paused any more"
}

// eventLine is an order event: number and kind of the transition, sum and subject, in
// which ids that identify a person are hashed.
func eventLine(on string, e order.Event) string {
	moved := string(e.Status)
	if e.From != nil {
		moved = string(*e.From) + " -> " + moved
	}
	return fmt.Sprintf("#%-3d %-30s %13s  %s", e.Transition, moved, sum(e), on)
}

// sum is the event's sum, or the refunded one, after what is unusual about the event.
func sum(e order.Event) string {
	text := money(e.Amount)
	switch {
	case e.Amount == nil && !e.Confirmed:
		text = "" // The webhook has none.
	case e.Amount != nil && e.Amount.Refunded > 0:
		text = "refunded " + money(&order.Amount{Currency: e.Amount.Currency, Value: e.Amount.Refunded})
	}
	if !e.Confirmed {
		text = "unconfirmed " + text
	}
	if e.Correction {
		text = "correction " + text
	}
	return strings.TrimSpace(text)
}

// money writes an amount as Brazilians do: R$ 1.234,50. It is "-" for none.
func money(a *order.Amount) string {
	if a == nil {
		return "-"
	}
	sign, minor := "", uint64(a.Value)
	if a.Value < 0 {
		sign, minor = "-", -minor
	}
	currency := a.Currency
	if currency == "BRL" {
		currency = "R$"
	}
	digits, unit := order.Digits(a.Currency), uint64(1)
	for range digits {
		unit *= 10
	}
	text := message.NewPrinter(language.BrazilianPortuguese).Sprintf("%s %s%d", currency, sign, minor/unit)
	if digits > 0 {
		text += fmt.Sprintf(",%0*d", int(digits), minor%unit)
	}
	return text
}
