package console

import (
	"net/http"

	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/operator"
)

// paymentPage is the data of the page of one payment.
type paymentPage struct {
	operator.Story

	Scheduled *operator.Entry // What is scheduled, nil for nothing.
	Graph     *graph          // The way that it took, nil before its first event.
	Letters   int             // Open dead letters.
	Circuit   *record.Circuit // The circuit that keeps its look-ups from being made, nil for none.
}

// payment fills the page of one payment.
func (s *site) payment(r *http.Request, v *view) error {
	unit, ok := s.unitOf(r)
	if !ok {
		return errNoPage
	}
	d, err := s.open(r.Context())
	if err != nil {
		return err
	}
	story, err := d.Story(r.Context(), unit)
	if err != nil {
		return err
	}
	page := paymentPage{Story: story, Graph: graphOf(story)}
	for i := range story.Entries {
		e := &story.Entries[i]
		if e.Waits() {
			page.Scheduled = e
		}
		if e.OpenLetter() {
			page.Letters++
		}
	}
	for _, c := range s.watch.last.Load().Health.Circuits {
		if c.Provider == unit.Provider && (c.Account == unit.Account || c.OfHost()) {
			page.Circuit = &c
		}
	}
	v.Title, v.Every, v.Data = "payment.title", slowEvery, page
	return nil
}

// unitOf reads the unit off an address, whose last part may be an id instead of a token. Both
// become parts of subjects, so nothing else is accepted.
func (s *site) unitOf(r *http.Request) (subject.Unit, bool) {
	u := subject.Unit{Provider: r.PathValue("provider"), Account: r.PathValue("account"), Payment: r.PathValue("payment")}
	if _, known := providers.All.Get(u.Provider); !known {
		return u, false
	}
	if !subject.IsToken(u.Payment) {
		u.Payment = s.Tokens.Token(u.Payment)
	}
	return u, subject.IsToken(u.Account) && subject.IsToken(u.Payment)
}
