package operator

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// blind takes the look-up settings from the configuration, as an operator's
// environment does.
func (r *rig) blind() {
	r.T.Helper()
	text, err := os.ReadFile(r.config)
	r.Must(err)
	r.Must(os.WriteFile(r.config, []byte(strings.Replace(string(text), "token: token", `token: "${NOT_HERE}"`, 1)), 0o600))
}

// Redriving such a letter would only make another one, three days later.
func TestWithoutSettingsOnlyWhoWasAskedBeforeCanBeAsked(t *testing.T) {
	t.Parallel()
	confirmed, trusted := true, false
	for name, c := range map[string]struct {
		provider        string
		observed, event *bool // Whether it was confirmed; nil for none.
		want            bool
	}{
		"a provider that is always asked": {"sandbox", nil, nil, true},
		"nothing is known":                {"beeteller", nil, nil, false},
		"its payload was trusted":         {"beeteller", &trusted, nil, false},
		"its answer was read":             {"beeteller", &confirmed, nil, true},
		"its event was trusted":           {"beeteller", nil, &trusted, false},
		"its event stands on an answer":   {"beeteller", nil, &confirmed, true},
		"its payload is trusted by now":   {"beeteller", &trusted, &confirmed, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := idle(t)
			r.blind()
			u := subject.Unit{Provider: c.provider, Account: "default", Payment: "b-1"}
			if c.event != nil {
				r.observe(u, *c.event, time.Now())
				r.work()
				r.Until("it has an event", func() bool { return r.last(subject.Orders, u.Events()) != nil })
				stream, err := r.JS.Stream(r.Ctx, subject.Statuses)
				r.Must(err)
				r.Must(stream.Purge(r.Ctx))
			}
			if c.observed != nil {
				r.observe(u, *c.observed, time.Now())
			}
			r.givenUp(u, "NOTIFICATIONS-7", record.ClassData, 0, "none", time.Now())
			code := ExitPartly
			if c.want {
				code = ExitDone
			}
			if out := r.run(code, "dead", "redrive", "--all"); strings.Contains(out, "cannot be looked up") == c.want {
				t.Errorf("it says %q", out)
			}
			if parked := r.count(subject.LookupRetries) > 0; parked != c.want {
				t.Errorf("a look-up is due: %v, want %v", parked, c.want)
			}
		})
	}
}

// givenUp stores what a look-up came to.
func (r *rig) givenUp(u subject.Unit, id string, class record.Class, attempts int, answer string, at time.Time) {
	r.T.Helper()
	letter := record.DeadLetter{
		ID: id, Class: class, Stage: "lookup", Provider: u.Provider, Account: u.Account, Kind: order.Payout, Payment: u.Payment,
		Cause: "given up", Attempts: attempts, LastAnswer: answer, Stream: subject.Notifications, Sequence: 7, Next: "redrive", At: at.UTC(),
	}
	r.Must(r.dead.Put(r.Ctx, u, letter, letter.ID, deadletter.SameID(letter.ID)))
}

// What a provider answered, or failed to, in look-ups that were given up is
// the only trace that they leave.
func TestALookUpThatFailedToTheEndShowsThatItsProviderCanBeAsked(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		class    record.Class
		attempts int
		answer   string
		trusted  time.Time // When a payload was trusted; zero for never.
		want     bool
	}{
		"it failed to the end":         {record.ClassProvider, 11, "unavailable", time.Time{}, true},
		"it does not know the payment": {record.ClassData, 0, "not_found", time.Time{}, true},
		"we could not ask to the end":  {record.ClassOurs, 11, "ours", time.Time{}, false},
		"trusted before it could fail": {record.ClassProvider, 11, "transport", now.Add(-time.Minute), true},
		"trusted after it failed":      {record.ClassProvider, 11, "transport", now.Add(time.Minute), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := idle(t)
			r.blind()
			u := subject.Unit{Provider: "beeteller", Account: "default", Payment: "b-1"}
			if !c.trusted.IsZero() {
				r.observe(u, false, c.trusted)
			}
			r.givenUp(u, "NOTIFICATIONS-7", c.class, c.attempts, c.answer, now)
			again, code := ExitDone, ExitPartly
			if c.want {
				again, code = ExitPartly, ExitDone // Nobody answers in time here.
			}
			if out := r.run(again, "replay", "--payment", "b-1", "--wait", "0"); strings.Contains(out, "cannot be looked up") == c.want {
				t.Errorf("replay says %q", out)
			}
			due := r.count(subject.LookupRetries)
			if out := r.run(code, "dead", "redrive", "NOTIFICATIONS-7"); strings.Contains(out, "cannot be looked up") == c.want {
				t.Errorf("redrive says %q", out)
			}
			if after := r.count(subject.LookupRetries); due > 0 != c.want || after > due != c.want {
				t.Errorf("replay made %d look-ups due, redrive %d, want some: %v", due, after-due, c.want)
			}
		})
	}
}

func TestALetterIsRedrivenForWhatItSaysItself(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.blind()
	u := subject.Unit{Provider: "beeteller", Account: "default", Payment: "b-1"}
	r.givenUp(u, "NOTIFICATIONS-7", record.ClassProvider, 11, "unavailable", time.Now())
	r.givenUp(u, "NOTIFICATIONS-8", record.ClassData, 0, "none", time.Now())
	if out := r.run(ExitDone, "dead", "redrive", "NOTIFICATIONS-7"); r.count(subject.LookupRetries) == 0 {
		t.Errorf("no look-up is due, it says %q", out)
	}
}

// observe stores an observation without asking anybody.
func (r *rig) observe(u subject.Unit, confirmed bool, at time.Time) {
	r.T.Helper()
	body, err := json.Marshal(order.Observation{
		Provider: u.Provider, Account: u.Account, Kind: order.Payout, Payment: u.Payment, Order: "o", Status: order.Pending,
		ProviderStatus: "INITIALIZED", Confirmed: confirmed, Cause: order.CauseNotification, AskedAt: at.UTC(), AnsweredAt: at.UTC(),
	})
	r.Must(err)
	_, err = r.JS.Publish(r.Ctx, u.Status(), body)
	r.Must(err)
}
