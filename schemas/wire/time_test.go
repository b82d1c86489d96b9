package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"arauto/schemas/wire"
)

func TestTimeReadsEveryKnownForm(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2024-07-01T16:00:00-03:00":     "2024-07-01T19:00:00Z",
		"2024-07-01T16:00:00Z":          "2024-07-01T16:00:00Z",
		"2024-07-01T16:00:00.5+02:00":   "2024-07-01T14:00:00.5Z",
		"2025-04-16T11:30:04.157929932": "2025-04-16T14:30:04.157929932Z",
		"2022-05-24T23:09:21":           "2022-05-25T02:09:21Z",
		"2022-05-24 23:09:21":           "2022-05-25T02:09:21Z",
		"24/05/2022 - 23:09:21":         "2022-05-25T02:09:21Z",
		"24/05/2022":                    "2022-05-24T03:00:00Z",
		"2022-05-24":                    "2022-05-24T03:00:00Z",
		"1617591600":                    "2021-04-05T03:00:00Z",
	} {
		got, err := wire.Time(text)
		if err != nil || got.Format(time.RFC3339Nano) != want || got.Location() != time.UTC {
			t.Errorf("%q is %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestTimeRefusesWhatCannotBePublished(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "ontem", "0", "-1", "1e9", "31/02/2022", "05/24/2022", "1617591600000", "999999999999",
		"9999-12-31T23:59:59-03:00", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+03:00",
	} {
		if got, err := wire.Time(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func FuzzTime(f *testing.F) {
	for _, seed := range []string{"2024-07-01T16:00:00-03:00", "24/05/2022 - 23:09:21", "24/05/2022", "1617591600", "9999-12-31", "0000-01-01"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := wire.Time(text)
		if err != nil {
			return
		}
		if _, err := json.Marshal(got); err != nil {
			t.Errorf("%q cannot be published: %v", text, err)
		}
		again, err := wire.Time(got.Format(time.RFC3339Nano))
		if err != nil || !again.Equal(got) {
			t.Errorf("%q written down is %v, %v", text, again, err)
		}
	})
}
