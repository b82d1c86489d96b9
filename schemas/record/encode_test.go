package record_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"arauto/schemas/order"
	"arauto/schemas/record"
)

func notifications() *rapid.Generator[record.Notification] {
	return rapid.Custom(func(t *rapid.T) record.Notification {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", `"`, `\`, "<&>", "\u2028", "\x00\x7f", "caf\u00e9"}))
		texts := rapid.MapOf(text, text)
		zone := time.FixedZone("", 60*rapid.IntRange(-12*60, 12*60).Draw(t, "minutes"))
		return record.Notification{
			ID: text.Draw(t, "id"), Provider: text.Draw(t, "provider"), Account: text.Draw(t, "account"),
			Kind: order.Kind(text.Draw(t, "kind")), Payment: text.Draw(t, "payment"), Order: text.Draw(t, "order"),
			ReceivedAt: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).In(zone),
			Unknown:    text.Draw(t, "unknown"), Trace: text.Draw(t, "trace"),
			Headers: texts.Draw(t, "headers"), Fields: texts.Draw(t, "fields"),
		}
	})
}

// What is written out by hand is what reflection would write, which a reader
// of it is made for.
func TestNotificationReadsAsItWasWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := notifications().Draw(t, "notification")
		body := n.AppendTo([]byte("before"))[len("before"):]
		var got, want map[string]any
		reflected, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(reflected, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %s, want %s", body, reflected)
		}
	})
}

// A field that is added must be written too.
func TestNoFieldOfANotificationIsForgotten(t *testing.T) {
	t.Parallel()
	n := notifications().Filter(func(n record.Notification) bool {
		v := reflect.ValueOf(n)
		for i := range v.NumField() {
			if f := v.Field(i); f.IsZero() || f.Kind() == reflect.Map && f.Len() == 0 {
				return false
			}
		}
		return true
	}).Example(1)
	var got map[string]any
	if err := json.Unmarshal(n.AppendTo(nil), &got); err != nil {
		t.Fatal(err)
	}
	if want := reflect.TypeOf(n).NumField(); len(got) != want {
		t.Errorf("%d of %d fields are written: %v", len(got), want, got)
	}
}

func TestNoUTF8BecomesReplacementCharacters(t *testing.T) {
	t.Parallel()
	body := record.Notification{Headers: map[string]string{"event-type": "caf\xe9"}}.AppendTo(nil)
	if !utf8.Valid(body) || !strings.Contains(string(body), "caf\ufffd") {
		t.Errorf("it is %q", body)
	}
}

// A webhook of angle brackets must not grow past what the broker takes.
func TestHTMLStaysAsItIs(t *testing.T) {
	t.Parallel()
	if body := string(record.Notification{Payment: "<&>"}.AppendTo(nil)); !strings.Contains(body, `"payment":"<&>"`) {
		t.Errorf("it is %s", body)
	}
}
