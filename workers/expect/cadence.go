package expect

import "time"

// step is the longest time between two look-ups of a payment that is expected for less than
// until.
type step struct{ until, every time.Duration }

const (
	hour = time.Hour
	day  = 24 * hour
)

// cadence is how often an expected payment is looked up that no webhook announces. The
// first look-up is made at once. The waits are guesses: a payer who is at the till pays
// within minutes, and six look-ups reach to 17 minutes.
var cadence = []step{{time.Minute, time.Minute}, {hour, 4 * time.Minute}, {day, hour}, {7 * day, 6 * hour}, {1 << 62, day}}

// every is the time from a look-up of a payment to the next one, by how long the payment had
// been expected when it was made.
func every(age time.Duration) time.Duration {
	for _, one := range cadence {
		if age < one.until {
			return one.every
		}
	}
	return day
}

// silence is how long a webhook may take after a change of state before it counts as
// missing, as where the provider has a wrong address. A guess.
const silence = 10 * time.Minute

// inFlight is how long a notification, or a look-up that the broker has delivered, counts
// as being worked on. A guess, longer than a look-up may take.
const inFlight = time.Minute
