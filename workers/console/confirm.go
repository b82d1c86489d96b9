package console

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/operator"
)

// confirmPage says what an action will do, before it is done.
type confirmPage struct {
	Verb   string
	Fields map[string]string // What the form sends again.
	Unit   subject.Unit      // The payment, or only provider and account.
	Shown  string            // The payment's id.
	Back   string

	Story    *operator.Story // Of one payment.
	Parked   *operator.Entry // What is scheduled for it, nil for nothing.
	Refused  string          // Why it cannot be done, "" if it can.
	Looked   chosen          // Among which the dead letters are.
	Letters  int             // How many dead letters it is about.
	Digest   string          // Of which they are.
	Payments int             // How many payments these are of.
	Cannot   int             // How many of them cannot be redriven.
	Groups   []group
	Lasts    time.Duration // How long it will take.
	Circuit  record.CircuitState
	Load     operator.Load // What waits for the account.
	Waiting  uint64        // Messages that wait for any worker.

	Until     *time.Time      // When the hold ends, nil without one.
	Spans     []time.Duration // How long a hold may last.
	Consumers int             // How many consumers a hold pauses.
	Rest      time.Duration   // How long it waits for workers at most.
}

// Hashed reports whether the page shows a token instead of the payment's id, by which no
// command finds it.
func (p confirmPage) Hashed() bool { return strings.HasPrefix(p.Shown, "~") }

// confirm fills the page that an action begins with. It changes nothing.
func (s *site) confirm(r *http.Request, v *view) error {
	page := confirmPage{Verb: r.PathValue("verb"), Fields: map[string]string{}}
	v.Title = "act." + page.Verb
	var err error
	switch page.Verb {
	case verbRetry, verbReplay:
		err = s.confirmPayment(r, &page)
	case verbRedrive, verbDiscard:
		err = s.confirmLetters(r, &page)
	case verbOpen, verbClose:
		err = s.confirmCircuit(r, &page)
	case verbHold, verbResume:
		err = s.confirmHold(r.Context(), &page)
	default:
		return errNoPage
	}
	v.Data = page
	return err
}

// confirmPayment says what retry or replay does to one payment.
func (s *site) confirmPayment(r *http.Request, page *confirmPage) error {
	unit, ok := unitOfForm(r)
	if !ok {
		return errNoPage
	}
	d, story, err := s.story(r.Context(), unit)
	if err != nil {
		return err
	}
	page.Unit, page.Story, page.Back, page.Shown = unit, &story, pathOf(unit), story.Payment
	page.Fields = map[string]string{"provider": unit.Provider, "account": unit.Account, "payment": unit.Payment}
	for i := range story.Entries {
		if e := &story.Entries[i]; e.Waits() {
			page.Parked = e
		}
	}
	circuits, err := d.Circuits(r.Context())
	if err != nil {
		return err
	}
	if c := circuitOf(circuits, unit); c != nil {
		page.Circuit = c.State
	}
	if page.Verb == verbReplay {
		if err := d.Askable(r.Context(), unit); errors.Is(err, operator.ErrNoLookUp) {
			page.Refused = err.Error()
		} else if err != nil {
			return err
		}
	}
	return nil
}

// confirmLetters counts what redrive or discard acts on.
func (s *site) confirmLetters(r *http.Request, page *confirmPage) error {
	q := letterQueryOf(r)
	q.State = record.Open
	looked, err := s.watch.letters.choose(r.Context(), s.JS, q, s.Now())
	if err != nil {
		return err
	}
	all := looked.All
	page.Back, page.Fields, page.Looked = "/dead", q.fields(), looked
	page.Letters, page.Digest, page.Groups = len(all), digestOf(all), groups(all, q.Before)
	payments := map[subject.Unit]bool{}
	for _, l := range all {
		payments[l.Unit] = true
		if l.Kind == "" || l.Class == record.ClassSubscriber {
			page.Cannot++
		}
	}
	page.Payments, page.Lasts = len(payments), time.Duration(len(all))*time.Second/jobRate
	page.Groups = page.Groups[:min(len(page.Groups), 20)]
	return nil
}

// digestOf names a set of dead letters, so that an action is done on what was confirmed.
func digestOf(all []deadletter.Entry) string {
	names := make([]string, len(all))
	for i, l := range all {
		names[i] = fmt.Sprintf("%s %s %s %d", l.Unit, l.Stage, l.ID, l.Sequence)
	}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(strings.Join(names, "\n")))
	return hex.EncodeToString(sum[:])
}

// fields are the query as fields of a form.
func (q letterQuery) fields() map[string]string {
	all := map[string]string{"class": q.Class, "stage": q.Stage, "provider": q.Provider, "word": q.Word, "cause": q.Cause, "id": q.ID, "unit": q.Unit}
	if q.Before > 0 {
		all["before"] = strconv.FormatUint(q.Before, 10)
	}
	for name, value := range all {
		if value == "" {
			delete(all, name)
		}
	}
	return all
}

// Address is the page of an action on what the group has.
func (g group) Address(verb string) string {
	of := letterQuery{Class: g.Class, Stage: g.Stage, Provider: g.Provider, Word: g.Word, Cause: g.Cause, Before: g.Before}.address()
	if verb != "" {
		of = "/act/" + verb + strings.TrimPrefix(of, "/dead")
	}
	return of
}

// confirmCircuit says what opening or closing an account's circuit does.
func (s *site) confirmCircuit(r *http.Request, page *confirmPage) error {
	page.Unit = subject.Unit{Provider: r.FormValue("provider"), Account: r.FormValue("account")}
	if !slices.Contains(s.Config().AccountNames(page.Unit.Provider), page.Unit.Account) {
		return errNoPage
	}
	page.Back, page.Fields = "/providers", map[string]string{"provider": page.Unit.Provider, "account": page.Unit.Account}
	page.Circuit = record.CircuitClosed
	d, err := s.open(r.Context())
	if err != nil {
		return err
	}
	circuits, err := d.Circuits(r.Context())
	if err != nil {
		return err
	}
	for _, c := range circuits {
		if c.Provider == page.Unit.Provider && c.Account == page.Unit.Account {
			page.Circuit = c.State
		}
	}
	page.Load, err = d.Load(r.Context(), page.Unit.Provider, page.Unit.Account)
	return err
}

// confirmHold says what a hold and its end do.
func (s *site) confirmHold(ctx context.Context, page *confirmPage) error {
	d, err := s.open(ctx)
	if err != nil {
		return err
	}
	health, err := d.Health(ctx)
	if err != nil {
		return err
	}
	page.Back, page.Spans, page.Rest = "/broker", holdSpans, s.rest
	page.Until, page.Consumers, page.Waiting = health.HeldUntil, len(health.Consumers), health.Backlog
	if page.Until != nil {
		page.Fields["until"] = page.Until.UTC().Format(time.RFC3339)
	}
	return nil
}
