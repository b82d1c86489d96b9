package order_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/schemas/order"
	"arauto/schemas/schematest"
)

func TestEveryAnnouncedEventValidates(t *testing.T) {
	t.Parallel()
	for _, kind := range order.Kinds() {
		for _, status := range kind.Statuses() {
			o := sample(kind, status, 0)
			after, _ := order.Standing{}.Fold(o, start)
			published(t, order.Announce(nil, o, 1, after))
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		log := drawLog(rt)
		occurred := start.In(time.FixedZone("BRT", -3*60*60)).UTC()
		for i := range log {
			log[i].o.Order = rapid.SampledFrom([]string{"", "o-1", "\x00 *>\n"}).Draw(rt, "order")
			log[i].o.Reason = rapid.SampledFrom([]string{"", "pix.timeout"}).Draw(rt, "reason")
			log[i].o.Notification = rapid.SampledFrom([]string{"", "019aa3"}).Draw(rt, "notification")
			log[i].o.ProviderReference = rapid.SampledFrom([]string{"", "r"}).Draw(rt, "reference")
			log[i].o.OccurredAt = rapid.SampledFrom([]*time.Time{nil, &occurred}).Draw(rt, "occurred")
			log[i].o.AnsweredAt = log[i].at.In(time.FixedZone("", 3600))
		}
		for _, e := range events(log, nil) {
			published(t, e)
		}
	})
}

// event is a transition with every field, as a JSON object.
func event(t testing.TB) (order.Event, map[string]any) {
	t.Helper()
	o := sample(order.Payment, order.Paid, 0)
	o.Reason, o.Notification, o.ProviderReference, o.Confirmed = "r", "019aa3", "ref", true
	o.OccurredAt = &o.AnsweredAt
	previous := order.Event{Status: order.Pending, Transition: 1}
	e := order.Announce(&previous, o, 4711, order.Standing{Kind: order.Payment, Status: order.Paid})
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return e, doc
}

// published fails the test when the event breaks its schema.
func published(t testing.TB, e order.Event) {
	t.Helper()
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if err := schematest.Event(raw); err != nil {
		t.Errorf("event %s: %v", raw, err)
	}
}

func valid(t testing.TB, doc map[string]any) bool {
	t.Helper()
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return schematest.Event(raw) == nil
}

func TestTheSchemaRefusesWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	_, good := event(t)
	if !valid(t, good) {
		t.Fatal("the event itself is refused")
	}
	for field := range good {
		doc := maps.Clone(good)
		delete(doc, field)
		if valid(t, doc) {
			t.Errorf("an event without %s is taken", field)
		}
	}
	for field, wrong := range map[string][]any{
		"provider": {"", "Pic Pay", nil}, "account": {"", "a.b"}, "kind": {"refund", nil}, "order": {"", nil}, "payment": {""},
		"transition": {0, 1.5, "1"}, "from": {"", "unknown"}, "status": {"", "approved", nil}, "final": {nil, "no"},
		"provider_status": {"", nil}, "observation": {0}, "notification": {""}, "reason": {1},
		"amount":      {1, map[string]any{"currency": "BRL", "value": 1}, map[string]any{"currency": "brl", "value": 1, "refunded": 0}, map[string]any{"currency": "BRL", "value": -1, "refunded": 0}, map[string]any{"currency": "BRL", "value": 1.5, "refunded": 0}},
		"observed_at": {nil, "yesterday", "2026-01-02", "2026-13-02T03:04:05Z", "2026-01-02T03:04:05-03:00"}, "occurred_at": {"", "2026-01-02T03:04:05"},
		"correction": {nil, 1}, "restarted": {nil, "yes"},
	} {
		for _, value := range wrong {
			doc := maps.Clone(good)
			doc[field] = value
			if valid(t, doc) {
				t.Errorf("an event with %s %v is taken", field, value)
			}
		}
	}
}

func TestTheSchemaAndTheStructHaveTheSameFields(t *testing.T) {
	t.Parallel()
	var schema struct {
		Required   []string       `json:"required"`
		Properties map[string]any `json:"properties"`
		ID         string         `json:"$id"`
		Defs       struct {
			Status struct {
				Enum []order.Status `json:"enum"`
			} `json:"status"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(order.EventSchema, &schema); err != nil {
		t.Fatal(err)
	}
	if schema.ID != order.SchemaID {
		t.Errorf("the schema calls itself %s", schema.ID)
	}
	_, doc := event(t)
	fields := slices.Sorted(maps.Keys(doc))
	if required := slices.Sorted(slices.Values(schema.Required)); !slices.Equal(required, fields) {
		t.Errorf("required are %v, the struct has %v", required, fields)
	}
	fields = slices.Sorted(slices.Values(append(fields, "correction", "restarted"))) // They are left out where they are false.
	if declared := slices.Sorted(maps.Keys(schema.Properties)); !slices.Equal(declared, fields) {
		t.Errorf("declared are %v, the struct has %v", declared, fields)
	}
	var statuses []order.Status
	for _, kind := range order.Kinds() {
		statuses = append(statuses, kind.Statuses()...)
	}
	slices.Sort(statuses)
	if enum := slices.Sorted(slices.Values(schema.Defs.Status.Enum)); !slices.Equal(enum, slices.Compact(statuses)) {
		t.Errorf("the schema knows %v, the graph %v", enum, slices.Compact(statuses))
	}
}

func TestTheEventsIDIsItsObservation(t *testing.T) {
	t.Parallel()
	e, _ := event(t)
	same := e
	same.Status, same.Transition, same.ObservedAt = order.Refunded, 9, time.Time{}
	if same.ID() != e.ID() {
		t.Error("the id depends on what the observation was folded into")
	}
	for _, change := range []func(*order.Event){
		func(e *order.Event) { e.Provider += "x" }, func(e *order.Event) { e.Account += "x" },
		func(e *order.Event) { e.Payment += "x" }, func(e *order.Event) { e.Observation++ },
		func(e *order.Event) { e.Provider, e.Account = e.Provider+e.Account[:1], e.Account[1:] },
	} {
		other := e
		change(&other)
		if other.ID() == e.ID() {
			t.Errorf("%+v has the same id", other)
		}
	}
	// Consumers dedupe by the id, so it is for ever.
	if got := e.ID(); got != "9987a0e1e6c06bc057dbdff0102b16ba" {
		t.Errorf("the id is %s", got)
	}
}

func TestCloudEventHeaders(t *testing.T) {
	t.Parallel()
	e, _ := event(t)
	want := map[string]string{
		"ce-specversion": "1.0", "ce-id": e.ID(), "ce-source": "/sandbox/default", "ce-type": "arauto.order.paid.v1",
		"ce-subject": "caf%C3%A9%0A", "ce-time": "2026-01-02T03:04:05Z", "ce-datacontenttype": "application/json",
		"ce-dataschema": "urn:arauto:order-event:v1", "ce-sequence": "2",
	}
	if got := e.CloudEvent("", "café\n"); !reflect.DeepEqual(got, want) {
		t.Errorf("headers are %v", got)
	}
	if got := e.CloudEvent("shop-a", "o")["ce-source"]; got != "/shop-a/sandbox/default" {
		t.Errorf("the source of a named deployment is %s", got)
	}
}

func TestAnEventWithoutAnAmountKeepsTheLast(t *testing.T) {
	t.Parallel()
	said := sample(order.Payment, order.Paid, 0)
	paid, _ := order.Standing{}.Fold(said, start)
	first := order.Announce(nil, said, 1, paid)
	silent := sample(order.Payment, order.Settled, 0)
	silent.Amount = nil
	settled, _ := order.StandingOf(&first).Fold(silent, start)
	second := order.Announce(&first, silent, 2, settled)
	if second.Amount == nil || *second.Amount != *first.Amount || second.Amount == first.Amount {
		t.Errorf("the amount is %v", second.Amount)
	}
	if second.From == nil || *second.From != order.Paid || first.From != nil {
		t.Error("from is not the status before")
	}
	if alone := order.Announce(nil, silent, 1, order.Standing{Kind: order.Payment, Status: order.Settled}); alone.Amount != nil {
		t.Errorf("an amount %v comes from nowhere", alone.Amount)
	}
	silent.Order = ""
	if e := order.Announce(nil, silent, 1, order.Standing{}); e.Order != silent.Payment {
		t.Errorf("without an order the event names %q", e.Order)
	}
}

func TestSameWordComparesWhatMoves(t *testing.T) {
	t.Parallel()
	o := sample(order.Payment, order.Paid, 5)
	for name, change := range map[string]func(*order.Observation){
		"status": func(o *order.Observation) { o.Status = order.Settled },
		"word":   func(o *order.Observation) { o.ProviderStatus = "captured" },
		"sum":    func(o *order.Observation) { o.Amount = nil },
	} {
		other := sample(order.Payment, order.Paid, 5)
		change(&other)
		if o.SameWord(other) {
			t.Errorf("another %s is the same", name)
		}
	}
	other := sample(order.Payment, order.Paid, 5)
	other.Covers, other.Notification = 7, "n"
	if !o.SameWord(other) {
		t.Error("the same word differs")
	}
}
