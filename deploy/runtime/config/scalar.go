package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written 256KiB in the file.
type Size int64

const (
	kib Size = 1 << 10
	mib Size = 1 << 20
	gib Size = 1 << 30
)

// units are the suffixes of a size, the largest first.
var units = []struct {
	suffix string
	bytes  Size
}{{"GiB", gib}, {"MiB", mib}, {"KiB", kib}, {"B", 1}}

// String writes the size with the largest unit that keeps it a whole number.
func (s Size) String() string {
	for _, u := range units {
		if s >= u.bytes && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalYAML writes the size as the file does.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// The parsers of scalars return the value, or what is wrong with it and what
// to write instead.

func whole(given string) (int, string) {
	n, err := strconv.Atoi(given)
	if err != nil {
		return 0, "is not a whole number; write digits, such as 32"
	}
	return n, ""
}

func duration(given string) (time.Duration, string) {
	d, err := time.ParseDuration(given)
	if err != nil {
		return 0, "is not a duration; write a number with its unit, such as 800ms, 5s or 12h"
	}
	return d, ""
}

func size(given string) (Size, string) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(given, u.suffix)
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(digits, 10, 63); err == nil && n <= uint64(math.MaxInt64/u.bytes) {
			return Size(n) * u.bytes, ""
		}
		break
	}
	return 0, "is not a size; write a number with its unit, such as 256KiB, 1MiB or 8GiB"
}

// between returns what is wrong if got is outside a range, "" if it is inside.
func between[T int | Size | time.Duration](got, low, high T) string {
	if got >= low && got <= high {
		return ""
	}
	return fmt.Sprintf("%v is out of range; write a value from %v to %v", got, low, high)
}

// word is a scalar as it stands in the file: a text, or a reference to an
// environment variable with or without a fallback.
type word struct {
	text        string
	variable    string
	fallback    string
	hasFallback bool
}

var variableReference = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)(:-[^{}]*)?\}$`)

// split takes a scalar apart. wrong is not empty when it is a reference
// written wrongly; it does not quote the scalar, which may hold a secret.
func split(given string) (w word, wrong string) {
	if !strings.Contains(given, "${") {
		return word{text: given}, ""
	}
	m := variableReference.FindStringSubmatch(given)
	if m == nil {
		return word{}, "is not a reference; write ${NAME} or ${NAME:-default} as the whole value, NAME of letters, digits and _"
	}
	fallback, hasFallback := strings.CutPrefix(m[2], ":-")
	return word{variable: m[1], fallback: fallback, hasFallback: hasFallback}, ""
}
