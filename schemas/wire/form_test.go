package wire_test

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"arauto/schemas/wire"
)

func TestFormKeepsWhatSendersMean(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]url.Values{
		"a=1&b=2":                   {"a": {"1"}, "b": {"2"}},
		"a=1&&a=2&":                 {"a": {"1", "2"}},
		"a%5B%5D%5Bb%5D=x&a[][b]=y": {"a[][b]": {"x", "y"}},
		"a=x+y%20z":                 {"a": {"x y z"}},
		"a=cr%C3%A9dito":            {"a": {"crédito"}},
		"a=cr%E9dito":               {"a": {"crédito"}},
		"a=cr\xe9dito":              {"a": {"crédito"}},
		"a=100% puro+x%2":           {"a": {"100% puro x%2"}},
		"a=%zz%41":                  {"a": {"%zzA"}},
		"a=b=c":                     {"a": {"b=c"}},
		"a":                         {"a": {""}},
		"=x":                        {"": {"x"}},
		"a=1;b=2":                   {"a": {"1;b=2"}},
	} {
		if got, err := wire.Form([]byte(body)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q gives %q, %v", body, got, err)
		}
	}
}

func TestFormRefusesNothingAndTooMuch(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "&", "&&&", strings.Repeat("a=b&", wire.MaxPairs)} {
		if got, err := wire.Form([]byte(body)); err == nil {
			t.Errorf("%.20q gives %d fields", body, len(got))
		}
	}
	if _, err := wire.Form([]byte(strings.Repeat("a=b&", wire.MaxPairs-1) + "a=b")); err != nil {
		t.Errorf("%d fields: %v", wire.MaxPairs, err)
	}
}

func FuzzForm(f *testing.F) {
	for _, seed := range []string{"a=1&b=2", "a[][b]=%20+", "a=%E9", "a=100%", "=&=", "\xff=%ff", "a=%%41"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		form, err := wire.Form(body)
		if err != nil {
			return
		}
		valid := true
		for key, values := range form {
			for _, text := range append(values, key) {
				if !utf8.ValidString(text) {
					t.Errorf("%q is not valid UTF-8", text)
				}
			}
		}
		want, err := url.ParseQuery(string(body))
		for key, values := range want {
			valid = valid && utf8.ValidString(key+strings.Join(values, ""))
		}
		if err == nil && valid && !reflect.DeepEqual(form, want) {
			t.Errorf("a well-formed form gives %q, want %q", form, want)
		}
	})
}
