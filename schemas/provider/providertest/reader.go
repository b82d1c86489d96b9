package providertest

import (
	"bytes"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"arauto/schemas/provider"
)

// reader is a function of a provider that reads a body: of a webhook, of an answer or of a
// login. It is asked the same whatever it reads.
type reader[T any] struct {
	c     *fixture
	body  string // A good one.
	want  T      // What it means.
	read  func(body []byte) (T, error)
	class func(err error) bool // Whether a bad body may give it.
}

// ask asks all that a reader of any body must keep to, and returns how many bodies with a
// key in two spellings it refused.
func (r reader[T]) ask(t *testing.T, bad map[string]string) (refused int) {
	t.Helper()
	r.refuses(t, bad)
	r.keepsNothing(t)
	for what, body := range rewritten(r.body) {
		if got, err := r.read([]byte(body)); err != nil || !reflect.DeepEqual(got, r.want) {
			t.Errorf("%s makes it %+v, %v; want %+v", what, got, err, r.want)
		}
	}
	r.emptied(t)
	// A body whose keys come in two spellings is refused, or else read as if the second
	// spelling were not there.
	for what, body := range again(r.body) {
		got, err := r.read([]byte(body))
		switch {
		case err != nil:
			refused++
		case !reflect.DeepEqual(got, r.want):
			t.Errorf("%s is read as %+v, want %+v", what, got, r.want)
		}
	}
	return refused
}

// refuses proves that bad bodies give an error with a class, which shows nothing.
func (r reader[T]) refuses(t *testing.T, bad map[string]string) {
	t.Helper()
	for what, body := range bad {
		got, err := r.read([]byte(body))
		if err == nil {
			t.Errorf("%s is read as %+v", what, got)
			continue
		}
		if !r.class(err) {
			t.Errorf("%s gives %v, which has no class that fits", what, err)
		}
		r.c.clean(t, what, err.Error())
	}
}

// keepsNothing proves that the reader neither changes its input nor keeps it, and that it
// gives the same result again.
func (r reader[T]) keepsNothing(t *testing.T) {
	t.Helper()
	body := []byte(r.body)
	got, err := r.read(body)
	if !bytes.Equal(body, []byte(r.body)) {
		t.Error("reading changes the body")
	}
	for i := range body {
		body[i] = '#'
	}
	if err != nil || !reflect.DeepEqual(got, r.want) {
		t.Errorf("the same body, then overwritten, gives %+v, %v", got, err)
	}
}

// emptied proves that PHP's [] in the place of an object means the same as an object
// without fields.
func (r reader[T]) emptied(t *testing.T) {
	t.Helper()
	if isForm(r.body) {
		return
	}
	arrays := edits(t, r.body, isObject, []any{})
	for i, object := range edits(t, r.body, isObject, map[string]any{}) {
		want, problem := r.read([]byte(object))
		got, err := r.read([]byte(arrays[i]))
		if !reflect.DeepEqual(got, want) || text(err) != text(problem) {
			t.Errorf("%.300s is %+v, %v; want %+v, %v", arrays[i], got, err, want, problem)
		}
	}
}

// numeric puts numbers where the body has an id as text. Digits name want, other numbers
// are refused with class.
func numeric(t *testing.T, body, id, want string, class error, read func(body string) (string, error)) {
	t.Helper()
	for digits, fits := range numbers {
		got, err := read(strings.ReplaceAll(body, literal(body, id), digits))
		if fits && (err != nil || got != want) || !fits && !errors.Is(err, class) {
			t.Errorf("%s for the id %s gives %q, %v", digits, id, got, err)
		}
	}
}

// statuses walks every HTTP status with each body. Only a 200 with the first one is good.
func (c *fixture) statuses(t *testing.T, answer func(r provider.Reply) error, bodies ...string) {
	t.Helper()
	for status := 100; status < 600; status++ {
		for i, body := range bodies {
			err := answer(provider.Reply{Status: status, Body: []byte(body)})
			if good := status == http.StatusOK && i == 0; (err == nil) != good {
				t.Errorf("status %d with %.40q gives %v", status, body, err)
			}
			if err != nil {
				c.classed(t, "a status", err)
			}
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// classes are what an error of Answer may be, beside an unknown word.
var classes = []error{
	provider.ErrNotFound, provider.ErrCredential, provider.ErrThrottled,
	provider.ErrUnavailable, provider.ErrRefused, provider.ErrUnreadable,
}

func hasClass(err error) bool {
	for _, class := range classes {
		if errors.Is(err, class) {
			return true
		}
	}
	return isUnknownWord(err)
}

func isUnknownWord(err error) bool {
	var unknown *provider.UnknownWordError
	return errors.As(err, &unknown)
}

// classed proves that an error has a class and shows nothing.
func (c *fixture) classed(t *testing.T, what string, err error) {
	t.Helper()
	c.clean(t, what, err.Error())
	if !hasClass(err) {
		t.Errorf("%s gives %v, which has no class", what, err)
	}
}
