package api

import (
	_ "embed"
	"encoding/json"
	"net/http"

	"arauto/schemas/order"
	"arauto/schemas/providers"
)

// description is what GET /_sim/ answers: how the simulator is steered.
type description struct {
	About   string          `json:"about"`
	Calls   json.RawMessage `json:"calls"`
	Payment json.RawMessage `json:"payment"` // The fields of the body that moves one.
	Fault   json.RawMessage `json:"fault"`   // The fields of the body that sets one.
	Faults  []kindOfFault   `json:"faults"`

	Accounts  []string           `json:"accounts"`
	Providers map[string]unitsOf `json:"providers"`
}

// kindOfFault is one kind of fault. An HTTP status is a kind of its own.
type kindOfFault struct {
	Kind string `json:"kind"`
	Does string `json:"does"`
}

// unitsOf are the units of a provider, with the words that their status may have
// and what Arauto makes of each.
type unitsOf map[string]map[string]order.Status

//go:embed description.json
var texts []byte

// described is the description, the same of every simulator.
var described = func() description {
	d := description{Accounts: accounts, Providers: map[string]unitsOf{}}
	if err := json.Unmarshal(texts, &d); err != nil {
		panic(err)
	}
	for _, p := range providers.All {
		d.Providers[p.Name] = unitsOf{}
		for _, u := range p.Sample.Units {
			d.Providers[p.Name][u.Name] = p.Vocabulary[u.Kind]
		}
	}
	return d
}()

// describe answers how the simulator is steered.
func describe(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	text, err := json.MarshalIndent(described, "", "  ")
	if err != nil {
		problem(w, http.StatusInternalServerError, "description cannot be encoded")
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(append(text, '\n')) // The caller has gone if it fails.
}
