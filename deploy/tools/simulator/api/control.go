package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"arauto/schemas/provider"
	"arauto/schemas/subject"
)

// control answers the calls under /_sim/. Their errors are JSON objects with
// one field, error.
func (s *Simulator) control(w http.ResponseWriter, r *http.Request, path []string) {
	if len(path) == 0 || len(path) == 1 && path[0] == "" {
		describe(w, r)
		return
	}
	if len(path) < 2 {
		problem(w, http.StatusNotFound, "unknown path")
		return
	}
	slug := path[0]
	d, ok := dialectOf(slug)
	if !ok {
		problem(w, http.StatusNotFound, "unknown provider")
		return
	}
	switch {
	case len(path) == 2 && path[1] == "fault":
		s.controlFault(w, r, slug)
	case len(path) == 2 && path[1] == "lookups":
		s.controlLookups(w, r, slug)
	case len(path) == 4:
		u, ok := d.unit(path[2])
		switch {
		case !ok:
			problem(w, http.StatusNotFound, "unknown path")
		case !slices.Contains(accounts, path[1]):
			problem(w, http.StatusNotFound, "unknown account")
		default:
			s.controlUnit(w, r, key{slug, path[1], u.Name, path[3]}, u)
		}
	default:
		problem(w, http.StatusNotFound, "unknown path")
	}
}

func (s *Simulator) controlFault(w http.ResponseWriter, r *http.Request, provider string) {
	if !allow(w, r, http.MethodPut) {
		return
	}
	var f fault
	err := readControl(r, &f)
	if err == nil {
		err = f.check()
	}
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	s.faults.set(provider, f)
	s.log.Info("fault.set", zap.String("provider", provider), zap.String("kind", f.Kind), zap.String("account", f.Account), zap.Int("count", f.Count))
	reply(w, http.StatusOK, f)
}

func (s *Simulator) controlLookups(w http.ResponseWriter, r *http.Request, provider string) {
	if allow(w, r, http.MethodGet) {
		reply(w, http.StatusOK, s.asked.of(provider, r.URL.Query().Get("account")))
	}
}

func (s *Simulator) controlUnit(w http.ResponseWriter, r *http.Request, k key, u provider.SampleUnit) {
	if err := subject.CheckID(k.ID); err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	switch r.Method {
	case http.MethodGet:
		e, ok := s.ledger.get(k)
		if !ok {
			problem(w, http.StatusNotFound, "unknown payment")
			return
		}
		reply(w, http.StatusOK, stateOf(e.Now))
	case http.MethodPut:
		s.put(w, r, k, u)
	default:
		allow(w, r, http.MethodGet+", "+http.MethodPut)
	}
}

// mostTimes bounds how often one change sends its webhook.
const mostTimes = 100

// change is the body of a PUT. What it does not have keeps its value.
type change struct {
	Order    *string         `json:"order"`
	Status   json.RawMessage `json:"status"`
	Amount   *int64          `json:"amount"`
	Refunded *int64          `json:"refunded"`
	Captured *int64          `json:"captured"`
	KnownIn  float64         `json:"known_in"` // Seconds until look-ups know it, 0 for at once.

	Notify  bool    `json:"notify"`
	Times   int     `json:"times"`   // How many webhooks say so; 0 is one.
	After   float64 `json:"after"`   // Seconds until they are sent; the call does not wait for that.
	Earlier bool    `json:"earlier"` // They say what was true before this change.
}

func (s *Simulator) put(w http.ResponseWriter, r *http.Request, k key, u provider.SampleUnit) {
	var c change
	var word string
	err := readControl(r, &c)
	if err == nil {
		word, err = c.check(u)
	}
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	var before *payment
	p, err := s.ledger.put(k, func(now *payment) payment {
		before = now
		return c.apply(k, now, word, u.Opening, s)
	})
	if err != nil {
		problem(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	if !c.Notify {
		reply(w, http.StatusOK, stateOf(p))
		return
	}
	said := p
	if c.Earlier && before != nil {
		said = *before
	}
	if c.After > 0 {
		s.tellLater(k, said, c)
		reply(w, http.StatusOK, stateOf(p))
		return
	}
	s.tell(w, k, p, said, c.Times)
}

// tell sends the webhook and answers what became of it. A provider takes
// nothing but 200 for received.
func (s *Simulator) tell(w http.ResponseWriter, k key, p, said payment, times int) {
	at := s.now() // Of all of them, so that they are exact copies.
	state := stateOf(p)
	var err error
	for n := 0; n < max(times, 1) && err == nil; n++ {
		state.Notified, err = s.notify(k, said, at)
	}
	if err != nil {
		state.Error = err.Error()
		reply(w, http.StatusBadGateway, state)
		return
	}
	reply(w, http.StatusOK, state)
}

// check says what is wrong with a change, or else its status, "" for none.
func (c change) check(u provider.SampleUnit) (string, error) {
	for _, cents := range []*int64{c.Amount, c.Refunded, c.Captured} {
		if cents != nil && *cents < 0 {
			return "", errors.New("amounts are cents and not negative")
		}
	}
	switch {
	case !(c.KnownIn >= 0 && c.KnownIn <= longest), !(c.After >= 0 && c.After <= longest):
		return "", fmt.Errorf("known_in or after is not between 0 and %d seconds", longest)
	case c.Times < 0 || c.Times > mostTimes:
		return "", fmt.Errorf("times is not between 0 and %d", mostTimes)
	case !c.Notify && (c.Times > 0 || c.After > 0 || c.Earlier):
		return "", errors.New("times, after and earlier are about a webhook, which needs notify")
	}
	if c.Status == nil || string(c.Status) == "null" {
		return "", nil
	}
	return word(u, c.Status)
}

// apply is the state after the change, from the present one, nil for none.
func (c change) apply(k key, now *payment, word, opening string, s *Simulator) payment {
	at := s.now()
	p := payment{Order: k.ID, Status: opening, Amount: 10000, Reference: referenceOf(k), Created: at, Since: at}
	if now != nil {
		p = *now
	}
	p.Changed = at
	if word != "" && word != p.Status {
		p.Status, p.Since = word, at
	}
	if c.Order != nil {
		p.Order = *c.Order
	}
	if c.Amount != nil {
		p.Amount = *c.Amount
	}
	if c.Refunded != nil {
		p.Refunded = *c.Refunded
	}
	if c.Captured != nil {
		p.Captured = c.Captured
	}
	if c.KnownIn > 0 {
		p.Known = at.Add(time.Duration(c.KnownIn * float64(time.Second)))
	}
	return p
}

// state is a payment as the control calls show it.
type state struct {
	Order    string `json:"order"`
	Status   string `json:"status"`
	Amount   int64  `json:"amount"`
	Refunded int64  `json:"refunded"`
	Captured *int64 `json:"captured,omitempty"`
	Notified int    `json:"notified,omitempty"` // The gateway's HTTP status, when it was told and answered.
	Error    string `json:"error,omitempty"`    // Why telling it failed.
}

func stateOf(p payment) state {
	return state{Order: p.Order, Status: p.Status, Amount: p.Amount, Refunded: p.Refunded, Captured: p.Captured}
}

// allow answers 405 and reports false when the method is not the one wanted.
func allow(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method == method {
		return true
	}
	w.Header().Set("Allow", method)
	problem(w, http.StatusMethodNotAllowed, "method not allowed")
	return false
}

// readControl reads one JSON object, whatever the Content-Type says. Fields
// that it does not know are passed over, as the providers themselves do.
func readControl(r *http.Request, dst any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		return errors.New("body is not a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(dst); err != nil {
		return fmt.Errorf("decode body: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("body has something behind its JSON object")
	}
	return nil
}
