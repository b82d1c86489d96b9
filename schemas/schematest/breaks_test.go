package schematest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/schematest"
)

// TestSchemasKeepWhatWasPublished compares each schema with the golden copy that its readers
// have, beside it in testdata. A schema without one fails.
func TestSchemasKeepWhatWasPublished(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("../*/*.schema.json")
	if err != nil || len(found) < 3 {
		t.Fatalf("only %v was found: %v", found, err)
	}
	for _, file := range found {
		current, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".schema.json")
		published, err := os.ReadFile(filepath.Join(filepath.Dir(file), "testdata", name+".published.json"))
		if err != nil {
			t.Errorf("%s: keep a copy of what is published: %v", file, err)
			continue
		}
		breaks, err := schematest.Breaks(published, current)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range breaks {
			t.Errorf("%s: %s; a change that breaks readers is a new version in a new file", name, b)
		}
		// A field that the copy lacks could be retyped or removed unseen.
		lags, err := schematest.Breaks(current, published)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lags {
			t.Errorf("%s: in the golden copy %s; a change that breaks no reader goes into the copy too", name, l)
		}
	}
}

func TestBreaksNameTheField(t *testing.T) {
	t.Parallel()
	current := string(order.EventSchema)
	for name, c := range map[string]struct{ old, now, want string }{
		"removed field":       {`"kind": {"enum"`, `"sort": {"enum"`, "kind: was removed"},
		"retyped field":       {`"final": {"type": "boolean"`, `"final": {"type": "string"`, "final: type was boolean and is string"},
		"null where was none": {`"provider_status": {"type": "string"`, `"provider_status": {"type": ["string", "null"]`, "provider_status: type was string and is [string null]"},
		"never null":          {`"reason": {"type": ["string", "null"]`, `"reason": {"type": "string"`, "reason: type was [string null] and is string"},
		"no longer required":  {`"final", "confirmed"`, `"confirmed"`, "final: is no longer required"},
		"newly required":      {`"provider", "account", "kind"`, `"correction", "provider", "account", "kind"`, "correction: is newly required"},
		"narrowed enum":       {`"enum": ["payment", "payout", "authentication"]`, `"enum": ["payment", "payout"]`, "kind: the word authentication was removed"},
		"enum where was none": {`"provider_status": {"type": "string"`, `"provider_status": {"enum": ["paid"], "type": "string"`, "provider_status: only the words [paid] are allowed now"},
		"narrowed statuses":   {`"authenticated", "not_authenticated"`, `"authenticated"`, "$defs.status: the word not_authenticated was removed"},
		"nested field":        {`"refunded": {"type": "integer"`, `"refunded": {"type": "number"`, "amount.refunded: type was integer and is number"},
		"other bound":         {`"minimum": 1, "description": "Number`, `"minimum": 2, "description": "Number`, "transition: minimum was 1 and is 2"},
		"closed document":     {`"type": "object",`, `"type": "object", "additionalProperties": false,`, " additionalProperties: <nil> became false"},
	} {
		if !strings.Contains(current, c.old) {
			t.Errorf("%s: the schema has no %s", name, c.old)
			continue
		}
		breaks, err := schematest.Breaks([]byte(current), []byte(strings.Replace(current, c.old, c.now, 1)))
		if err != nil || !slices.Contains(breaks, c.want) {
			t.Errorf("%s: %v, %v, want %q", name, breaks, err, c.want)
		}
	}
}

func TestNewOptionalFieldsAndWordsBreakNoReader(t *testing.T) {
	t.Parallel()
	current := string(order.EventSchema)
	changed := strings.Replace(current, `"payout", "authentication"`, `"payout", "authentication", "mandate"`, 1)
	changed = strings.Replace(changed, `"kind": {`, `"fee": {"type": "integer"}, "kind": {`, 1)
	changed = strings.Replace(changed, "The merchant's order.", "The order of the merchant.", 1)
	if changed == current {
		t.Fatal("nothing was changed")
	}
	if breaks, err := schematest.Breaks([]byte(current), []byte(changed)); err != nil || len(breaks) > 0 {
		t.Errorf("%v, %v", breaks, err)
	}
}
