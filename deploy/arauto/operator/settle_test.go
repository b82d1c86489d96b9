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
	"arauto/workers/deadletter"
)

// blind takes the look-up settings from the configuration, as an operator's
// environment does.
func (r *rig) blind() {
	r.t.Helper()
	text, err := os.ReadFile(r.config)
	r.must(err)
	r.must(os.WriteFile(r.config, []byte(strings.Replace(string(text), "token: token", `token: "${NOT_HERE}"`, 1)), 0o600))
}

// Redriving such a letter would only make another one, three days later.
func TestWithoutSettingsOnlyWhoWasAskedBeforeCanBeAsked(t *testing.T) {
	t.Parallel()
	confirmed, believed := true, false
	for name, c := range map[string]struct {
		provider        string
		observed, event *bool // Whether it was confirmed; nil for none.
		want            bool
	}{
		"a provider that is always asked":    {"sandbox", nil, nil, true},
		"nothing is known":                   {"beeteller", nil, nil, false},
		"its webhook was believed":           {"beeteller", &believed, nil, false},
		"its answer was read":                {"beeteller", &confirmed, nil, true},
		"its event was believed":             {"beeteller", nil, &believed, false},
		"its event stands on an answer":      {"beeteller", nil, &confirmed, true},
		"its webhook is believed these days": {"beeteller", &believed, &confirmed, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := idle(t)
			r.blind()
			u := subject.Unit{Provider: c.provider, Account: "default", Payment: "b-1"}
			if c.event != nil {
				r.observe(u, *c.event)
				r.work()
				r.eventually("it has an event", func() bool { return r.last(subject.Orders, u.Events()) != nil })
				stream, err := r.JS.Stream(r.ctx, subject.Statuses)
				r.must(err)
				r.must(stream.Purge(r.ctx))
			}
			if c.observed != nil {
				r.observe(u, *c.observed)
			}
			letter := record.DeadLetter{
				ID: "NOTIFICATIONS-7", Class: record.ClassData, Stage: "lookup", Provider: c.provider, Account: "default", Kind: order.Payout, Payment: "b-1",
				Cause: "unknown type", LastAnswer: "none", Stream: subject.Notifications, Sequence: 7, Next: "redrive", At: time.Now().UTC(),
			}
			r.must(r.dead.Put(r.ctx, u, letter, letter.ID, deadletter.SameID(letter.ID)))
			code := ExitPartly
			if c.want {
				code = ExitDone
			}
			if out := r.run(code, "dead", "redrive", "--all"); strings.Contains(out, "nobody can be asked") == c.want {
				t.Errorf("it says %q", out)
			}
			if parked := r.count(subject.LookupRetries) > 0; parked != c.want {
				t.Errorf("a look-up is due: %v, want %v", parked, c.want)
			}
		})
	}
}

// observe stores an observation without asking anybody.
func (r *rig) observe(u subject.Unit, confirmed bool) {
	r.t.Helper()
	now := time.Now().UTC()
	body, err := json.Marshal(order.Observation{
		Provider: u.Provider, Account: u.Account, Kind: order.Payout, Payment: u.Payment, Order: "o", Status: order.Pending,
		ProviderStatus: "INITIALIZED", Confirmed: confirmed, Cause: order.CauseNotification, AskedAt: now, AnsweredAt: now,
	})
	r.must(err)
	_, err = r.JS.Publish(r.ctx, u.Status(), body)
	r.must(err)
}
