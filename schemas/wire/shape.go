package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// wellShaped refuses what json.Unmarshal would take: nesting past MaxDepth,
// and a key twice in one object. Whether body is JSON is for Unmarshal to say;
// of what is not, anything may be said here.
//
// It is our own because json.Decoder.Token, which could tell the same, makes
// about ten allocations for each value, and this runs for every webhook and
// every answer.
func wellShaped(body []byte) error {
	var few [32][]byte
	s := shape{keys: few[:0]}
	for i := 0; i < len(body); i++ {
		switch c := body[i]; c {
		case '{', '[':
			if s.depth == MaxDepth {
				return fmt.Errorf("body nests deeper than %d", MaxDepth)
			}
			s.enter(c == '{')
		case '}', ']':
			if s.depth == 0 {
				return nil
			}
			if s.leave() {
				return errors.New("body has a key twice")
			}
		case ',':
			s.key = s.depth > 0 && s.open[s.depth-1].object
		case '"':
			length := quoted(body[i:])
			if s.key {
				s.keys, s.key = append(s.keys, folded(body[i:i+length])), false
			}
			i += length - 1
		}
	}
	return nil
}

// shape is what is known of a document up to some place in it.
type shape struct {
	open  [MaxDepth]level
	depth int
	keys  [][]byte // Of all open objects, the innermost last.
	key   bool     // A string that begins here is a key.
}

// level is an open object or array.
type level struct {
	object bool
	first  int // Where its keys begin.
}

func (s *shape) enter(object bool) {
	s.open[s.depth] = level{object, len(s.keys)}
	s.depth++
	s.key = object
}

// leave reports whether what ends here has a key twice.
func (s *shape) leave() bool {
	s.depth--
	own := s.keys[s.open[s.depth].first:]
	s.keys, s.key = s.keys[:s.open[s.depth].first], false
	slices.SortFunc(own, compare)
	for i := 1; i < len(own); i++ {
		if compare(own[i-1], own[i]) == 0 {
			return true
		}
	}
	return false
}

// quoted is the length of the string that body begins with, both quotes
// counted; all of body if it does not end.
func quoted(body []byte) int {
	for i := 1; i < len(body); i++ {
		switch body[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return len(body)
}

// folded is a key, given in its quotes, in a form that compare can compare.
func folded(literal []byte) []byte {
	special := func(r rune) bool { return r >= utf8.RuneSelf || r == '\\' }
	if len(literal) > 1 && !bytes.ContainsFunc(literal, special) {
		return literal[1 : len(literal)-1]
	}
	var key string
	if json.Unmarshal(literal, &key) != nil {
		return literal // It is not JSON.
	}
	return []byte(fold(key))
}

// fold gives keys that encoding/json takes for the same field the same form.
// Lower-casing is not enough: json also takes "\u017ftatus" for "status".
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		for next := unicode.SimpleFold(r); ; next = unicode.SimpleFold(next) {
			if next <= r {
				return next
			}
		}
	}, key)
}

// compare orders keys whatever the case of their ASCII letters; fold has made
// capitals of the others.
func compare(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if x, y := capital(a[i]), capital(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

func capital(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}
