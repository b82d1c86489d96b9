package console

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/operator"
)

// storyNewest is how many of the newest messages of each stream a payment's page has. A guess:
// they are read one after the other, and a payment has a dozen.
const storyNewest = 200

// paymentPage is the data of the page of one payment.
type paymentPage struct {
	operator.Story

	Scheduled *operator.Entry // What is scheduled, nil for nothing.
	Graph     *graph          // The way that it took, nil before its first event.
	Letters   int             // Open dead letters.
	Circuit   *record.Circuit // The circuit that keeps its look-ups from being made, nil for none.

	HeldUntil *time.Time // When the hold ends, nil without one.
	Stopped   []stopped  // The consumers on its way that do not run, unless the hold pauses them.
	Ready     uint64     // Webhooks that wait for the provider's look-ups.
	Oldest    float64    // Age of the first of them, in seconds.
	Most      uint64     // storyNewest.
}

// stopped is a consumer that does not run.
type stopped struct {
	Name string
	Why  string // The key of a text.
}

// Hashed reports whether the page shows a token instead of the payment's id, by which no
// command finds it.
func (p paymentPage) Hashed() bool { return strings.HasPrefix(p.Payment, "~") }

// story opens the deployment, and reads the newest of a payment's story.
func (s *site) story(ctx context.Context, unit subject.Unit) (d *operator.Deployment, story operator.Story, err error) {
	if d, err = s.open(ctx); err != nil {
		return nil, story, err
	}
	story, err = d.Story(ctx, unit, storyNewest)
	return d, story, err
}

// payment fills the page of one payment.
func (s *site) payment(r *http.Request, v *view) error {
	unit, ok := s.unitOf(r)
	if !ok {
		return errNoPage
	}
	d, story, err := s.story(r.Context(), unit)
	if err != nil {
		return err
	}
	page := paymentPage{Story: story, Graph: graphOf(story), Most: storyNewest}
	for i := range story.Entries {
		e := &story.Entries[i]
		if e.Waits() {
			page.Scheduled = e
		}
		if e.OpenLetter() {
			page.Letters++
		}
	}
	if page.HeldUntil, err = d.HeldUntil(r.Context()); err != nil {
		return err
	}
	page.look(s.watch.last.Load().Health)
	v.Title, v.Every, v.Data = "payment.title", slowEvery, page
	return nil
}

// look takes what keeps the payment from moving off a health.
func (p *paymentPage) look(h operator.Health) {
	p.Circuit = circuitOf(h.Circuits, p.Unit)
	asks := subject.LookupConsumer(p.Unit.Provider)
	way := []string{asks, subject.LookupDueConsumer(p.Unit.Provider), subject.NormalizeConsumer}
	for _, c := range h.Consumers {
		switch {
		case !slices.Contains(way, c.Name):
		case c.Missing:
			p.Stopped = append(p.Stopped, stopped{c.Name, "broker.missing"})
		case c.Paused && p.HeldUntil == nil && h.HeldUntil == nil:
			p.Stopped = append(p.Stopped, stopped{c.Name, "broker.paused"})
		case c.Unworked:
			p.Stopped = append(p.Stopped, stopped{c.Name, "broker.unworked"})
		case c.Name == asks:
			p.Ready, p.Oldest = c.Pending+uint64(max(c.AckPending, 0)), c.Oldest
		}
	}
}

// circuitOf is the circuit among open ones that keeps look-ups of an account from being made,
// nil for none.
func circuitOf(open []record.Circuit, u subject.Unit) *record.Circuit {
	for _, c := range open {
		if c.Provider == u.Provider && c.State != record.CircuitClosed && (c.Account == u.Account || c.OfHost()) {
			return &c
		}
	}
	return nil
}

// unitOf reads the unit off an address, whose last part may be an id instead of a token. Both
// become parts of subjects, so nothing else is accepted. No token is an id that may be personal.
func (s *site) unitOf(r *http.Request) (subject.Unit, bool) {
	u := subject.Unit{Provider: r.PathValue("provider"), Account: r.PathValue("account"), Payment: r.PathValue("payment")}
	if _, known := providers.All.Get(u.Provider); !known {
		return u, false
	}
	if !subject.IsToken(u.Payment) || subject.Personal(u.Payment) {
		u.Payment = s.Tokens.Token(u.Payment)
	}
	return u, subject.IsToken(u.Account) && subject.IsToken(u.Payment)
}
