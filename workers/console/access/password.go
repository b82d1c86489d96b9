package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
)

const (
	// shortestPassword is the fewest characters of a password, as NIST SP 800-63B-4 asks of a
	// password that is the only factor.
	shortestPassword = 15
	// longestPassword is the most bytes that bcrypt looks at.
	longestPassword = 72
	// passwordCost makes one check last some 0.2 s on a core of 2024.
	passwordCost = 12
)

// Hash makes the hash of a password for the configuration. The error says what the
// password lacks, and never shows it.
func Hash(password string) (string, error) { return hash(password, passwordCost) }

func hash(password string, cost int) (string, error) {
	password = norm.NFC.String(password)
	switch {
	case utf8.RuneCountInString(password) < shortestPassword:
		return "", fmt.Errorf("the password has fewer than %d characters; several words in a row are easy to remember", shortestPassword)
	case len(password) > longestPassword:
		return "", fmt.Errorf("the password has more than %d bytes; write a shorter one", longestPassword)
	case strings.ContainsFunc(password, unicode.IsControl):
		return "", errors.New("the password has a control character; write letters, digits, signs and spaces")
	}
	made, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return string(made), nil
}

// checker compares passwords with hashes, one at a time and a few waiting: each takes a core
// for a while, which a flood of log-ins must not take from everything else.
type checker struct {
	dummy   atomic.Pointer[[]byte] // A hash for names that are not known, as costly as the costliest real one.
	turn    chan struct{}
	waiting chan struct{}
}

const (
	// mostWaiting is how many log-ins wait for their turn; with one more they would wait for
	// longer than a person does.
	mostWaiting = 16
	// longestWait is how long a log-in waits for its turn.
	longestWait = 5 * time.Second
)

func newChecker() *checker {
	return &checker{turn: make(chan struct{}, 1), waiting: make(chan struct{}, mostWaiting)}
}

// prepare makes the hash for names that are not among the users.
func (c *checker) prepare(users map[string]User) error {
	cost := bcrypt.MinCost
	for name, u := range users {
		own, err := bcrypt.Cost([]byte(u.Hash))
		if err != nil {
			return fmt.Errorf("the password hash of %s is none of bcrypt: %w", name, err)
		}
		cost = max(cost, own)
	}
	dummy, err := bcrypt.GenerateFromPassword([]byte(random()), cost)
	if err != nil {
		return fmt.Errorf("make hash for unknown names: %w", err)
	}
	c.dummy.Store(&dummy)
	return nil
}

// errBusy means that too many log-ins are being checked.
var errBusy = errors.New("too many log-ins at once")

// right reports whether a password is the user's. It takes as long for a name that is not
// known.
func (c *checker) right(ctx context.Context, user User, known bool, password string) (bool, error) { //nolint:revive // flag-parameter: both ways must be one code, as slow as each other.
	select {
	case c.waiting <- struct{}{}:
		defer func() { <-c.waiting }()
	default:
		return false, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, longestWait)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return false, errBusy
	}
	compared := *c.dummy.Load()
	if known {
		compared = []byte(user.Hash)
	}
	password = norm.NFC.String(password)
	err := bcrypt.CompareHashAndPassword(compared, []byte(password))
	return err == nil && known && len(password) <= longestPassword, nil // bcrypt itself would ignore the rest.
}
