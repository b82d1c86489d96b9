package order

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ReadEvent decodes the body of an event. It refuses a body from which this
// version cannot go on: another form, no number, or a kind or status that it does
// not know. Fields that it does not know are ignored.
func ReadEvent(body []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	switch {
	case e.Transition == 0 || e.Observation == 0:
		return Event{}, errors.New("decode event: it has no number")
	case !e.Kind.Knows(e.Status):
		return Event{}, errors.New("decode event: its status is unknown to this version")
	}
	return e, nil
}
