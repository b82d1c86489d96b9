package expectation_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/schematest"
)

func TestReadIsStrictAboutValuesAndOpenForFields(t *testing.T) {
	t.Parallel()
	for body, wrong := range map[string]string{
		`{"order":"o"}`: "",
		`{"order":"o","amount":null,"deadline":null,"more":{"x":1}}`:                                   "",
		`{"order":"o","amount":{"currency":"BRL","value":1},"deadline":"2026-12-31T23:59:59.5-03:00"}`: "",
		`{"withdrawn":true}`:        "",
		`{"withdrawn":false}`:       "order",
		`{}`:                        "order",
		`null`:                      "order",
		`[]`:                        "one JSON object",
		`{"order":"o"} `:            "",
		`{"order":"o"}{}`:           "one JSON object",
		`{"order":"o","order":"p"}`: "one JSON object",
		`{"order":1}`:               "order",
		`{"order":"."}`:             "order",
		`{"order":"` + strings.Repeat("o", 257) + `"}`:               "order",
		`{"order":"o","amount":10000}`:                               "amount",
		`{"order":"o","amount":{}}`:                                  "amount.currency",
		`{"order":"o","amount":{"currency":"brl","value":1}}`:        "amount.currency",
		`{"order":"o","amount":{"currency":"BRL","value":0}}`:        "amount.value",
		`{"order":"o","amount":{"currency":"BRL","value":-1}}`:       "amount.value",
		`{"order":"o","amount":{"currency":"BRL","value":1.5}}`:      "amount.value",
		`{"order":"o","amount":{"currency":"BRL","value":"1"}}`:      "amount.value",
		`{"order":"o","amount":{"currency":"BRL","value":1e300}}`:    "amount.value",
		`{"order":"o","deadline":"tomorrow"}`:                        "deadline",
		`{"order":"o","deadline":"2026-12-31"}`:                      "deadline",
		`{"order":"o","deadline":"0001-01-01T00:00:00Z"}`:            "deadline",
		`{"order":"o","deadline":"9999-01-01T00:00:00Z"}`:            "deadline",
		`{"order":"o","payment":"` + strings.Repeat("p", 257) + `"}`: "payment",
		`{"order":"o","withdrawn":"yes"}`:                            "withdrawn",
	} {
		e, err := expectation.Read([]byte(body))
		switch {
		case wrong == "" && err != nil:
			t.Errorf("%s: %v", body, err)
		case wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)):
			t.Errorf("%s is read as %+v, %v, want an error about %s", body, e, err, wrong)
		case wrong == "":
			if err := schematest.Expectation([]byte(body)); err != nil {
				t.Errorf("%s breaks the schema: %v", body, err)
			}
		}
	}
}

func TestSameContentIsOneVersion(t *testing.T) {
	t.Parallel()
	read := func(body string) string {
		e, err := expectation.Read([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return e.Version("p")
	}
	one := read(`{"order":"o","amount":{"currency":"BRL","value":1},"deadline":"2026-12-31T21:00:00-03:00"}`)
	if same := read(` {"deadline":"2027-01-01T00:00:00Z","note":1,"amount":{"value":1,"currency":"BRL"},"payment":"p","order":"o"}`); same != one {
		t.Errorf("the same content has the versions %s and %s", one, same)
	}
	seen := map[string]string{}
	for _, body := range []string{
		`{"order":"o"}`, `{"order":"q"}`, `{"order":"o","amount":{"currency":"BRL","value":1}}`,
		`{"order":"o","amount":{"currency":"BRL","value":2}}`, `{"order":"o","amount":{"currency":"USD","value":1}}`,
		`{"order":"o","deadline":"2026-12-31T21:00:00Z"}`,
	} {
		v := read(body)
		if before, there := seen[v]; there {
			t.Errorf("%s and %s have one version", before, body)
		}
		seen[v] = body
	}
}

func TestEveryOutcomeValidates(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		at := time.Date(2026, 11, 29, 12, 0, 0, 5, time.UTC)
		o := expectation.Outcome{
			Provider: "picpay", Account: "default", Payment: "p", Version: expectation.UnreadableVersion(nil), At: at,
			Outcome: rapid.SampledFrom(expectation.Words()).Draw(rt, "outcome"),
		}
		if rapid.Bool().Draw(rt, "full") {
			of, reason, transition := "o", "r", uint64(1)
			status := rapid.SampledFrom(order.Payment.Statuses()).Draw(rt, "status")
			o.Order, o.Reason, o.Transition, o.Status, o.Deadline = &of, &reason, &transition, &status, &at
			o.Expected, o.Paid = &expectation.Amount{Currency: "BRL", Value: 1}, &expectation.Amount{Currency: "BRL"}
			o.Other = &expectation.Payment{Provider: "picpay", Account: "default", Payment: "q"}
		}
		body, err := json.Marshal(o)
		if err != nil {
			rt.Fatal(err)
		}
		if err := schematest.Outcome(body); err != nil {
			rt.Fatalf("%s: %v", body, err)
		}
		if back, err := expectation.ReadOutcome(body); err != nil || back.ID() != o.ID() {
			rt.Fatalf("%s is read as %+v, %v", body, back, err)
		}
	})
	if _, err := expectation.ReadOutcome([]byte(`{"outcome":"paid_thrice"}`)); err == nil || !strings.Contains(err.Error(), "paid_thrice") {
		t.Errorf("an unknown word gives %v", err)
	}
}

// FuzzRead wants every body that is read to be written and read again as the same version,
// and no error to quote the body.
func FuzzRead(f *testing.F) {
	for _, body := range []string{`{"order":"o"}`, `{"order":"o","amount":{"currency":"BRL","value":1},"deadline":"2026-12-31T23:59:59Z"}`, `{"withdrawn":true}`, `{"secret":`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := expectation.Read(body)
		if err != nil {
			return
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := expectation.Read(again)
		if err != nil || back.Version("p") != e.Version("p") {
			t.Errorf("%q is written as %s, which is read as %+v, %v", body, again, back, err)
		}
		if !e.Withdrawn {
			if err := schematest.Expectation(again); err != nil {
				t.Errorf("%s breaks the schema: %v", again, err)
			}
		}
	})
}
