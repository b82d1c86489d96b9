package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// pauses is where the broker tells of consumers of LOOKUP_RETRIES that are paused
// or resumed (nats-server 2.15 server/consumer.go sendPauseAdvisoryLocked). Those of
// NOTIFICATIONS are paused together with them.
const pauses = "$JS.EVENT.ADVISORY.CONSUMER.PAUSE." + subject.LookupRetries + ".>"

// trouble prints what goes wrong between a webhook and its event: failed look-ups,
// dead letters, circuits and pauses.
type trouble struct {
	screen *screen
	tokens subject.Tokens
	log    *zap.Logger
	parked jetstream.Stream
}

// showTrouble begins with that, from now on. The returned function ends it.
func showTrouble(ctx context.Context, b *broker, s *screen, tokens subject.Tokens, log *zap.Logger) (func() error, error) {
	parked, err := b.js.Stream(ctx, subject.LookupRetries)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", subject.LookupRetries, err)
	}
	t := &trouble{screen: s, tokens: tokens, log: log, parked: parked}
	var stops []func() error
	stop := func() error {
		var all []error
		for _, one := range stops {
			all = append(all, one())
		}
		return errors.Join(all...)
	}
	for stream, line := range map[string]func([]byte) (string, error){subject.DeadLetters: t.letterLine, subject.Circuits: circuitLine} {
		lines := throttle{now: time.Now}
		end, err := follow(ctx, b, stream, log, func(m jetstream.Msg) error {
			text, err := line(m.Data())
			t.show(&lines, text)
			return err
		})
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		stops = append(stops, end)
	}
	for on, heard := range map[string]func(*throttle, *nats.Msg){subject.AllScheduled: t.parkedHeard, pauses: t.pauseHeard} {
		lines := throttle{now: time.Now}
		subscription, err := b.conn.Subscribe(on, func(m *nats.Msg) { heard(&lines, m) })
		if err != nil {
			return nil, errors.Join(fmt.Errorf("subscribe to %s: %w", on, err), stop())
		}
		stops = append(stops, subscription.Unsubscribe)
	}
	return stop, nil
}

// show prints a line, if there is one and not too many are.
func (t *trouble) show(lines *throttle, text string) {
	if text != "" {
		t.showLater(lines, func() string { return text })
	}
}

// showLater is show for a line that costs something to make. It is not made where too
// many are shown.
func (t *trouble) showLater(lines *throttle, text func() string) {
	hidden, ok := lines.take()
	if !ok {
		return
	}
	if hidden > 0 {
		t.screen.note("%d more such lines: bin/arauto status", hidden)
	}
	if line := text(); line != "" {
		t.screen.note("%s", line)
	}
}

// parkedHeard shows a look-up that was parked because it failed.
func (t *trouble) parkedHeard(lines *throttle, m *nats.Msg) {
	text, err := t.parkedLine(m.Data)
	if err != nil {
		t.log.Info("parked look-up cannot be shown", zap.Error(err))
	}
	if text == "" {
		return
	}
	t.showLater(lines, func() string {
		text, err := t.parkedLine(t.storedFor(m))
		if err != nil {
			t.log.Info("parked look-up cannot be shown", zap.Error(err))
		}
		return text
	})
}

// How often the stream is looked at for what was heard, and how long after the look
// before. A message is stored a moment after it is heard.
const (
	storedLooks = 4
	storedPause = 25 * time.Millisecond
)

// storedFor is what the stream has on the subject of a message that was heard. It is
// another one where the stream's guard refused that, because the payment waited
// already, and then says until when. Where there is none it is what was heard.
func (t *trouble) storedFor(m *nats.Msg) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	stored := m.Data
	for range storedLooks {
		if raw, err := t.parked.GetLastMsgForSubject(ctx, m.Subject); err == nil {
			if stored = raw.Data; bytes.Equal(stored, m.Data) {
				return stored
			}
		}
		if !pause(ctx, storedPause) {
			break
		}
	}
	return stored
}

// parkedLine says why a parked look-up waits, "" where nothing has failed.
func (t *trouble) parkedLine(body []byte) (string, error) {
	var p record.ScheduledLookUp
	if err := json.Unmarshal(body, &p); err != nil {
		return "", fmt.Errorf("decode parked look-up: %w", err)
	}
	does := failing(record.Failure(p.Reason))
	if does == "" {
		return "", nil
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
	return before + plain(t.tokens.Shown(p.Payment), room) + after, nil
}

// How much of an account's name is shown at the most, and of a payment's id at the
// least, in characters, so that there is room for what is said of them. Guesses.
const (
	longestAccount = 12
	shortestID     = 8
)

// failing is what a provider does to a payment's look-up, "" where it was not asked:
// an account over its budget is only slow, and a circuit that is open has a line of
// its own.
func failing(cause record.Failure) string {
	switch cause {
	case record.Transport:
		return "gives no answer about"
	case record.Unavailable:
		return "fails when asked about"
	case record.Unreadable:
		return "answers unreadably about"
	case record.Refused:
		return "refuses the question about"
	case record.Throttled:
		return "asks to slow down at"
	case record.Credential:
		return "refuses the credential for"
	case record.NotFound:
		return "does not know"
	case record.Ours:
		return "could not be asked about"
	case record.RateLimited, record.Stopped:
		return ""
	}
	return "" // What waits for something else has not failed: rechecks, for example.
}

// longestID is how much of a dead letter's payment is shown, in characters. The
// longest id that a provider documents has as many.
const longestID = 36

// letterLine is one dead letter, or what became of it.
func (t *trouble) letterLine(body []byte) (string, error) {
	var l record.DeadLetter
	if err := json.Unmarshal(body, &l); err != nil {
		return "", fmt.Errorf("decode dead letter: %w", err)
	}
	if l.State != record.Open {
		return fmt.Sprintf("dead letter %s is %s", l.ID, l.State), nil
	}
	return fmt.Sprintf("dead letter %s (%s): %s/%s payment %s: %s", l.ID, l.Class, l.Provider, plain(l.Account, longestAccount),
		plain(t.tokens.Shown(l.Payment), longestID), l.Cause), nil
}

// circuitLine is one change of an account's circuit. Probes are none.
func circuitLine(body []byte) (string, error) {
	var c record.Circuit
	if err := json.Unmarshal(body, &c); err != nil {
		return "", fmt.Errorf("decode circuit: %w", err)
	}
	switch c.State {
	case record.CircuitOpen:
		if c.Probes > 0 {
			return "", nil
		}
		return fmt.Sprintf("circuit of %s/%s is open (%s): the account's look-ups wait", c.Provider, c.Account, c.Cause), nil
	case record.CircuitClosed:
		return fmt.Sprintf("circuit of %s/%s is closed again (%s)", c.Provider, c.Account, c.Cause), nil
	case record.CircuitHalfOpen:
		return "", nil
	}
	return "", fmt.Errorf("circuit has the state %q", c.State)
}

// pauseHeard shows that a provider's look-ups are paused, or run again.
func (t *trouble) pauseHeard(lines *throttle, m *nats.Msg) {
	text, err := pauseLine(m.Data)
	if err != nil {
		t.log.Info("pause cannot be shown", zap.Error(err))
	}
	t.show(lines, text)
}

func pauseLine(body []byte) (string, error) {
	var told struct {
		Consumer string    `json:"consumer"`
		Paused   bool      `json:"paused"`
		Until    time.Time `json:"pause_until"`
	}
	if err := json.Unmarshal(body, &told); err != nil {
		return "", fmt.Errorf("decode advisory: %w", err)
	}
	provider, ok := strings.CutPrefix(told.Consumer, "lookup-due-")
	switch {
	case !ok:
		return "", nil
	case told.Paused:
		return fmt.Sprintf("%s answers no account: its look-ups are paused until %s", provider, told.Until.Local().Format("15:04:05")), nil
	}
	return provider + " is asked again: its look-ups are not paused any more", nil
}
