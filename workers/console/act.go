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

	"go.uber.org/zap"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/console/access"
	"arauto/workers/internal/deadletter"
	"arauto/workers/operator"
)

// The actions, as in their addresses.
const (
	verbRetry   = "retry"
	verbReplay  = "replay"
	verbRedrive = "redrive"
	verbDiscard = "discard"
	verbOpen    = "open"
	verbClose   = "close"
	verbCancel  = "cancel" // Ends the running job.
	verbHold    = "hold"
	verbResume  = "resume"
)

// holdRest is how long a hold waits for what workers have in hand. A guess: half of what the
// command waits for, because a person looks at a page that does nothing.
const holdRest = 30 * time.Second

// holdSpans are how long a hold may last, the usual one first.
var holdSpans = []time.Duration{time.Hour, 15 * time.Minute, 4 * time.Hour}

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
	Waiting  uint64 // Messages that wait for the provider's look-ups, or for any worker.

	Until     *time.Time      // When the hold ends, nil without one.
	Spans     []time.Duration // How long a hold may last.
	Consumers int             // How many consumers a hold pauses.
	Rest      time.Duration   // How long it waits for workers at most.
}

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
	d, err := s.open(r.Context())
	if err != nil {
		return err
	}
	story, err := d.Story(r.Context(), unit)
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
	for _, c := range s.watch.last.Load().Health.Circuits {
		if c.Provider == unit.Provider && (c.Account == unit.Account || c.OfHost()) {
			page.Circuit = c.State
		}
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

// digestOf names a set of dead letters, so that an action is done on those that were confirmed.
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
	last := s.watch.last.Load()
	for _, c := range last.Health.Circuits {
		if c.Provider == page.Unit.Provider && c.Account == page.Unit.Account {
			page.Circuit = c.State
		}
	}
	for _, c := range last.Health.Consumers {
		if of, ok := subject.ParseLookupConsumer(c.Name); ok && of == page.Unit.Provider {
			page.Waiting += c.Pending + uint64(max(c.AckPending, 0))
		}
	}
	return nil
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

// hold does a hold, or ends that which the person saw.
func (s *site) hold(ctx context.Context, d *operator.Deployment, r *http.Request, verb string) error {
	held, err := d.HeldUntil(ctx)
	if err != nil {
		return err
	}
	var seen *time.Time
	if at, err := time.Parse(time.RFC3339, r.FormValue("until")); err == nil {
		seen = &at
	}
	if verb == verbResume {
		if held == nil || !operator.SameHold(held, seen) {
			return &refusal{Key: "act.otherhold", Back: "/broker"}
		}
		return d.Resume(ctx)
	}
	lasts, reason := r.FormValue("for"), r.FormValue("reason")
	at := slices.IndexFunc(holdSpans, func(one time.Duration) bool { return one.String() == lasts })
	if at < 0 {
		return errNoPage
	}
	if held != nil {
		return &refusal{Key: "act.otherhold", Back: "/broker"}
	}
	if err := operator.CheckReason(reason); err != nil {
		return &refusal{Key: "act.badreason", Cause: err.Error(), Back: "/broker"}
	}
	if err := d.Hold(ctx, s.Now().Add(holdSpans[at]), s.rest, reason); err != nil {
		return &refusal{Key: "act.unheld", Cause: err.Error(), Back: "/broker"}
	}
	return nil
}

// unitOfForm reads the unit off the fields of a form or an address.
func unitOfForm(r *http.Request) (subject.Unit, bool) {
	u := subject.Unit{Provider: r.FormValue("provider"), Account: r.FormValue("account"), Payment: r.FormValue("payment")}
	return u, subject.IsToken(u.Provider) && subject.IsToken(u.Account) && subject.IsToken(u.Payment)
}

// act does an action that was confirmed, and leads to the page that shows it.
func (s *site) act(w http.ResponseWriter, r *http.Request) {
	verb, who, limit := r.PathValue("verb"), access.From(r.Context()).Name, pageLimit
	if verb == verbHold {
		limit += s.rest
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // As for a page that is refreshed.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(limit + writeTimeout))
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	leave, err := s.turn(r.WithContext(ctx))
	defer leave()
	to := ""
	if err == nil {
		to, err = s.do(ctx, r, verb, who)
	}
	leave()
	var refused *refusal
	if errors.Is(err, operator.ErrHeld) {
		err = &refusal{Key: "act.held", Cause: err.Error(), Back: "/broker"}
	}
	switch {
	case errors.As(err, &refused):
		v := s.view("acted", r)
		v.Title, v.Data = "act."+verb, refused
		s.render(w, r, v, http.StatusConflict)
		return
	case err != nil:
		s.fail(w, r, s.view("failed", r), err)
		return
	}
	s.Log.Info("console.acted", zap.String("verb", verb), zap.String("who", who))
	http.Redirect(w, r, to, http.StatusSeeOther) //nolint:gosec // A page of this site, which do has chosen.
}

// refusal is why an action was not done, for the person.
type refusal struct {
	Key   string // Of the text.
	Cause string // "" where the text says all.
	Back  string
}

func (r *refusal) Error() string { return r.Key + ": " + r.Cause }

// do does an action, and returns the page that shows it.
func (s *site) do(ctx context.Context, r *http.Request, verb, who string) (to string, err error) {
	switch verb {
	case verbRedrive, verbDiscard:
		return "/dead", s.beginJob(r.WithContext(ctx), verb, who)
	case verbCancel:
		return "/dead", s.stopJob(ctx, r.FormValue("job"), who)
	}
	d, err := operator.Open(ctx, s.Acts, s.Config(), s.Tokens, who)
	if err != nil {
		return "", err
	}
	unit, ok := unitOfForm(r)
	if (verb == verbRetry || verb == verbReplay) && !ok {
		return "", errNoPage
	}
	to = pathOf(unit)
	switch verb {
	case verbRetry:
		due, err := d.RetryNow(ctx, unit)
		if err == nil && !due {
			return "", &refusal{Key: "act.nothing", Back: to}
		}
		return to, err
	case verbReplay:
		err := d.Replay(ctx, unit)
		if errors.Is(err, operator.ErrNoLookUp) {
			return "", &refusal{Key: "act.unaskable", Cause: err.Error(), Back: to}
		}
		return to, err
	case verbOpen:
		return "/providers", s.circuit(ctx, d.OpenCircuit, unit)
	case verbClose:
		return "/providers", s.circuit(ctx, d.CloseCircuit, unit)
	case verbHold, verbResume:
		return "/broker", s.hold(ctx, d, r, verb)
	}
	return "", errNoPage
}

func (s *site) circuit(ctx context.Context, set func(ctx context.Context, provider, account string) error, u subject.Unit) error {
	if !slices.Contains(s.Config().AccountNames(u.Provider), u.Account) {
		return errNoPage
	}
	return set(ctx, u.Provider, u.Account)
}

// stopJob stops the job that the person saw. It may be that of another person, so AUDIT has both.
func (s *site) stopJob(ctx context.Context, id, who string) error {
	ended := &refusal{Key: "act.ended", Back: "/dead"}
	one := s.jobs.running(id)
	if one == nil {
		return ended
	}
	d, err := operator.Open(ctx, s.Acts, s.Config(), s.Tokens, who)
	if err != nil {
		return err
	}
	if err := d.StopsJob(ctx, fmt.Sprintf("stop the job of %s, %s on %d dead letters, begun at %s, after %d of them",
		one.Who, one.Verb, one.Total, one.Began.UTC().Format(time.RFC3339), one.Done+one.Failed)); err != nil {
		return err
	}
	if !s.jobs.stop(id, who) {
		return ended // Between the two.
	}
	return nil
}

// beginJob begins a job on the open dead letters that are chosen, if they are those that the
// person has confirmed.
func (s *site) beginJob(r *http.Request, verb, who string) error {
	q := letterQueryOf(r)
	q.State = record.Open
	reason := r.FormValue("reason")
	if verb == verbDiscard && reason == "" {
		return &refusal{Key: "act.reasonless", Back: "/dead"}
	}
	if err := operator.CheckReason(reason); err != nil {
		return &refusal{Key: "act.badreason", Cause: err.Error(), Back: "/dead"}
	}
	looked, err := s.watch.letters.choose(r.Context(), s.JS, q, s.Now())
	if err != nil {
		return err
	}
	letters := looked.All
	if len(letters) == 0 || digestOf(letters) != r.FormValue("letters") {
		return &refusal{Key: "act.changed", Back: "/dead"}
	}
	slices.SortFunc(letters, func(a, b deadletter.Entry) int { return a.At.Compare(b.At) }) // The oldest first, as the command does.
	if !s.jobs.start(&job{Verb: verb, Who: who, Reason: reason, letters: letters}) {
		return &refusal{Key: "act.busy", Back: "/dead"}
	}
	return nil
}
