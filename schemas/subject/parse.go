package subject

import (
	"fmt"
	"net/url"
	"strings"

	"arauto/schemas/order"
)

// The forms that subjects are parsed by. A word in angle brackets is any token.
const (
	notificationForm = "notifications.<provider>.<account>.<payment>"
	statusForm       = "statuses.<provider>.<account>.<payment>"
	eventForm        = "orders.<provider>.<account>.<payment>.<order>.<status>"
	ofOrderForm      = "order-payments.<order>.<provider>.<account>.<payment>"
	deadLetterForm   = "dead.<class>.<stage>.<provider>.<account>.<payment>"
	scheduledForm    = "lookup.parked.<provider>.<account>.<hash>"
	dueForm          = "lookup.due.<provider>.<account>.<hash>"
	forgottenForm    = "forgotten.<provider>.<account>.<hash>"
	expectedForm     = "expect.<provider>.<account>.<payment>"
	outcomeForm      = "expectations.<provider>.<account>.<payment>.<outcome>"
	circuitForm      = "circuits.<provider>.<account>"
	changedForm      = "circuits-changed.<provider>.<account>"
)

// parse returns the tokens of on that have a name in form.
func parse(on, form string) ([]string, error) {
	tokens, names := strings.Split(on, "."), strings.Split(form, ".")
	var found []string
	for i, name := range names {
		switch {
		case len(tokens) != len(names), tokens[i] == "":
			return nil, fmt.Errorf("subject %q is not %s", on, form)
		case name[0] == '<':
			found = append(found, tokens[i])
		case tokens[i] != name:
			return nil, fmt.Errorf("subject %q is not %s", on, form)
		}
	}
	return found, nil
}

// ParseStatus reads the unit off a subject of STATUSES.
func ParseStatus(on string) (Unit, error) { return parseUnit(on, statusForm) }

func parseUnit(on, form string) (Unit, error) {
	t, err := parse(on, form)
	if err != nil {
		return Unit{}, err
	}
	return Unit{Provider: t[0], Account: t[1], Payment: t[2]}, nil
}

// Event is what the subject of an order event says. Order is a token.
type Event struct {
	Unit   Unit
	Order  string
	Status order.Status
}

// ParseEvent reads a subject of ORDERS.
func ParseEvent(on string) (Event, error) {
	t, err := parse(on, eventForm)
	if err != nil {
		return Event{}, err
	}
	return Event{Unit: Unit{Provider: t[0], Account: t[1], Payment: t[2]}, Order: t[3], Status: order.Status(t[4])}, nil
}

// DeadLetter is what the subject of a dead letter says.
type DeadLetter struct {
	Class, Stage string
	Unit         Unit
}

// ParseDeadLetter reads a subject of DEAD_LETTERS.
func ParseDeadLetter(on string) (DeadLetter, error) {
	t, err := parse(on, deadLetterForm)
	if err != nil {
		return DeadLetter{}, err
	}
	return DeadLetter{Class: t[0], Stage: t[1], Unit: Unit{Provider: t[2], Account: t[3], Payment: t[4]}}, nil
}

// ParseUnit reads the unit off a subject of NOTIFICATIONS, STATUSES, ORDERS,
// ORDER_PAYMENTS, DEAD_LETTERS, EXPECTATIONS or OUTCOMES.
func ParseUnit(on string) (Unit, error) {
	family, _, _ := strings.Cut(on, ".")
	switch family {
	case "notifications":
		return parseUnit(on, notificationForm)
	case "statuses":
		return ParseStatus(on)
	case "orders":
		e, err := ParseEvent(on)
		return e.Unit, err
	case "expect":
		return parseUnit(on, expectedForm)
	case "expectations":
		return parseUnit(on, outcomeForm)
	case "order-payments":
		t, err := parse(on, ofOrderForm)
		if err != nil {
			return Unit{}, err
		}
		return Unit{Provider: t[1], Account: t[2], Payment: t[3]}, nil
	case "dead":
		l, err := ParseDeadLetter(on)
		return l.Unit, err
	}
	return Unit{}, fmt.Errorf("subject %q names no unit", on)
}

// ParseWaiting reads a subject of LOOKUP_RETRIES, scheduled or due, or one of FORGOTTEN.
func ParseWaiting(on string) (w Waiting, err error) {
	for _, form := range []string{scheduledForm, dueForm, forgottenForm} {
		var t []string
		if t, err = parse(on, form); err == nil {
			return Waiting{Provider: t[0], Account: t[1], Hash: t[2]}, nil
		}
	}
	return Waiting{}, err
}

// ParseCircuit reads provider and account off a subject of CIRCUITS, or off one on
// which the broker repeats it.
func ParseCircuit(on string) (provider, account string, err error) {
	t, err := parse(on, circuitForm)
	if err != nil {
		t, err = parse(on, changedForm)
	}
	if err != nil {
		return "", "", err
	}
	if account, err = url.PathUnescape(t[1]); err != nil {
		account = t[1] // Not a subject of ours, and no reason to read none of the others.
	}
	return t[0], account, nil
}

// ParseLease reads the name off the subject of a lease, stored or repeated.
func ParseLease(on string) (name string) { return on[strings.LastIndexByte(on, '.')+1:] }
