package wire

import (
	"errors"
	"strconv"
	"time"
)

// brazil is the wall clock of zoneless provider times. Brazil has had no
// daylight saving time since 2019, so a fixed offset is exact for today's
// dates; Yapay's own epoch samples fall on midnight at this offset.
var brazil = time.FixedZone("-03:00", -3*60*60)

// layouts are the forms in which providers write a time. Those without an
// offset are read as Brazilian wall clock.
var layouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05",
	"02/01/2006 - 15:04:05",
	"02/01/2006",
	"2006-01-02",
}

// Time reads a provider's time in one of the known forms, or as Unix seconds,
// and returns it in UTC. It refuses years outside 1 to 9999, which could not
// be written into an event.
func Time(s string) (time.Time, error) {
	t, err := parse(s)
	if err != nil {
		return time.Time{}, err
	}
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, errors.New("time is out of range")
	}
	return t, nil
}

func parse(s string) (time.Time, error) {
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, s, brazil); err == nil {
			return t, nil
		}
	}
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil && seconds > 0 && seconds < 1<<40 {
		return time.Unix(seconds, 0), nil
	}
	return time.Time{}, errors.New("time is in no known form")
}
