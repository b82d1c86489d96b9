package record

import "time"

// Forgotten is the record of a payment that an operator has erased, as stored on FORGOTTEN.
// Its subject has a keyed hash in the payment's place, and nothing else names the payment.
type Forgotten struct {
	At time.Time `json:"at"` // When it was erased, by the operator's clock.
}
