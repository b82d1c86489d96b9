package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
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
	held, err := operator.NewDeployment(s.Acts, s.Config(), s.Tokens).HeldUntil(r.Context())
	if err != nil {
		return err
	}
	if held != nil { // Otherwise each dead letter would be refused by itself.
		return &refusal{Key: "act.held", Cause: held.UTC().Format(time.RFC3339), Back: "/broker"}
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
