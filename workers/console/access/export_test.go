package access

import (
	"context"

	"golang.org/x/crypto/bcrypt"
)

// HashWith is Hash with another cost.
var HashWith = hash

// Limits of log-ins that are checked at once.
const MostWaiting = mostWaiting

// ErrBusy means that too many log-ins are being checked.
var ErrBusy = errBusy

// DummyCost is the cost of a check for a name that is not known.
func (a *Access) DummyCost() int {
	cost, _ := bcrypt.Cost(*a.checker.dummy.Load())
	return cost
}

// Occupy takes the turn of the one log-in that is checked; the result gives it back.
func (a *Access) Occupy() func() {
	a.checker.turn <- struct{}{}
	return func() { <-a.checker.turn }
}

// Waiting is how many log-ins are being checked or wait.
func (a *Access) Waiting() int { return len(a.checker.waiting) }

// Check compares a password.
func (a *Access) Check(ctx context.Context, u User, password string) (bool, error) {
	return a.checker.right(ctx, u, true, password)
}
