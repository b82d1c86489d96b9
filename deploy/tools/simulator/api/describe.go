package api

import (
	"encoding/json"
	"net/http"

	"arauto/schemas/order"
	"arauto/schemas/providers"
)

// description is what GET /_sim/ answers: how the simulator is steered.
type description struct {
	About     string             `json:"about"`
	Calls     []call             `json:"calls"`
	Payment   map[string]string  `json:"payment"` // The fields of the body that moves one.
	Fault     map[string]string  `json:"fault"`   // The fields of the body that sets one.
	Faults    []kindOfFault      `json:"faults"`
	Accounts  []string           `json:"accounts"`
	Providers map[string]unitsOf `json:"providers"`
}

// call is one control call.
type call struct {
	Call string `json:"call"`
	Does string `json:"does"`
}

// unitsOf are the units of a provider, with the words that their status may have
// and what Arauto makes of each.
type unitsOf map[string]map[string]order.Status

// describe answers how the simulator is steered.
func (s *Simulator) describe(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	text, err := json.MarshalIndent(s.description(), "", "  ")
	if err != nil {
		problem(w, http.StatusInternalServerError, "description cannot be encoded")
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(append(text, '\n')) // The caller has gone if it fails.
}

func (s *Simulator) description() description {
	d := description{
		About: "The other side of Arauto: it plays every provider. Bodies are JSON objects, whatever the Content-Type; ids are percent-encoded.",
		Calls: []call{
			{"PUT /_sim/{provider}/{account}/payments/{payment}", "makes or moves a payment; what the body does not name stays as it is"},
			{"GET /_sim/{provider}/{account}/payments/{payment}", "answers where it stands"},
			{"PUT /_sim/picpay-checkout/{account}/authentications/{chargeId}", "makes or moves a 3DS result; GET answers where it stands"},
			{"PUT /_sim/{provider}/fault", "lets the provider's look-ups fail"},
			{"GET /_sim/{provider}/lookups", "answers how often each payment was asked for; ?account= counts one account"},
		},
		Payment: map[string]string{
			"order":    "the merchant's order; the payment's own id at first",
			"status":   "in the provider's own word, a number for yapay; see providers, though any word is taken",
			"amount":   "cents, 10000 at first",
			"refunded": "cents, 0 at first",
			"captured": "cents of the amount; all of it when nothing is said and the status says paid, 0 captured and refunded with the status refunded is a void",
			"known_in": "seconds until look-ups know the payment, 0 for at once",
			"notify":   "true sends the webhook, as the provider would",
			"times":    "how many webhooks are sent, one after another",
			"after":    "seconds until they are sent; the call does not wait",
			"earlier":  "true has them say what was true before this change",
		},
		Fault: map[string]string{
			"kind":        "one of faults",
			"count":       "how many look-ups it hits; 0 hits all until it is changed",
			"retry_after": "seconds, for 429 and slow",
			"account":     "hits this account only; empty hits all",
			"payment":     "hits look-ups of this payment only; empty hits all",
		},
		Faults: kindsOfFaults(), Accounts: accounts, Providers: map[string]unitsOf{},
	}
	for _, p := range providers.All {
		d.Providers[p.Name] = unitsOf{}
		for _, u := range p.Sample.Units {
			d.Providers[p.Name][u.Name] = p.Vocabulary[u.Kind]
		}
	}
	return d
}
