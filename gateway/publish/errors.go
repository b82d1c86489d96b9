package publish

import (
	"errors"

	"arauto/deploy/runtime/commit"
)

// ErrUnverified means that the durability requirement is not verified against this broker,
// or that the broker does not meet it. The message may be stored.
var ErrUnverified = errors.New("broker is not trusted")

// classOther is the class of an error that wraps no Err value.
const classOther = "other"

// classified lists the Err values that have a class. An error that wraps several has the
// class of the first.
var classified = []struct {
	err   error
	class string
}{
	{commit.ErrStoreFailed, "store_failed"}, {commit.ErrTimeout, "timeout"}, {commit.ErrDisconnected, "disconnected"},
	{commit.ErrOverloaded, "overloaded"}, {commit.ErrFull, "full"}, {commit.ErrMissing, "missing"}, {ErrUnverified, "unverified"},
}

// Class is the metric label of an error of Store: one of Classes. commit.ErrTooLarge has no
// class of its own, because its cause is the request.
func Class(err error) string {
	for _, known := range classified {
		if errors.Is(err, known.err) {
			return known.class
		}
	}
	return classOther
}

// Classes lists every value that Class returns.
func Classes() []string {
	list := make([]string, 0, len(classified)+1)
	for _, known := range classified {
		list = append(list, known.class)
	}
	return append(list, classOther)
}
