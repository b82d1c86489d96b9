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
		"\xef\xbb\xbfa=1":           {"a": {"1"}},
	} {
		if got, err := wire.Form([]byte(body)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q gives %q, %v", body, got, err)
		}
	}
}

func TestFormRefusesNothingAndTooMuch(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "&", "&&&", "\xef\xbb\xbf", strings.Repeat("a=b&", wire.MaxPairs)} {
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

// parts is a multipart form with the boundary x.
func parts(bodies ...string) string {
	var b strings.Builder
	for _, body := range bodies {
		b.WriteString("--x\r\n" + body + "\r\n")
	}
	return b.String() + "--x--\r\n"
}

func field(name, value string) string {
	return `Content-Disposition: form-data; name="` + name + "\"\r\n\r\n" + value
}

func TestFormMayHaveParts(t *testing.T) {
	t.Parallel()
	const kind = "multipart/form-data; boundary=x"
	for body, want := range map[string]url.Values{
		parts(field("a", "1"), field("b[]", "2"), field("a", "3&c=4")):                                 {"a": {"1", "3&c=4"}, "b[]": {"2"}},
		"\xef\xbb\xbf" + parts(field("a", "1")):                                                        {"a": {"1"}},
		parts(field("a", "cr\xe9dito")):                                                                {"a": {"crédito"}},
		parts(field("a", ""), field("b", "100%+x")):                                                    {"a": {""}, "b": {"100%+x"}},
		parts(field("a", "1"), `Content-Disposition: form-data; name="f"; filename="f"`+"\r\n\r\n..."): {"a": {"1"}},
		parts(field("a", "1"), "Content-Type: text/plain\r\n\r\nof no field"):                          {"a": {"1"}},
		"a=1&b=2": {"a": {"1"}, "b": {"2"}}, // The body decides.
		"a=--y":   {"a": {"--y"}},
	} {
		if got, err := wire.FormOf(kind, []byte(body)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q gives %q, %v", body, got, err)
		}
	}
	for _, kind := range []string{"", "nonsense;;", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=\"\"", "text/plain; boundary=x"} {
		if got, err := wire.FormOf(kind, []byte("a=--x")); err != nil || !reflect.DeepEqual(got, url.Values{"a": {"--x"}}) {
			t.Errorf("%q gives %q, %v", kind, got, err)
		}
	}
}

func TestFormOfPartsRefusesWhatIsCutAndTooMuch(t *testing.T) {
	t.Parallel()
	const kind = "multipart/form-data; boundary=x"
	whole := parts(field("a", "1"), field("b", "2"))
	for cut := len("--x"); cut < len(whole)-len("\r\n"); cut++ {
		if got, err := wire.FormOf(kind, []byte(whole[:cut])); err == nil {
			t.Errorf("a cut at byte %d gives %q", cut, got)
		}
	}
	many := make([]string, wire.MaxPairs+1)
	for i := range many {
		many[i] = field("a", "b")
	}
	for _, body := range []string{"--x--\r\n", parts("\r\n"), parts(field("", "1")), parts("nonsense"), parts(many...)} {
		if got, err := wire.FormOf(kind, []byte(body)); err == nil {
			t.Errorf("%.60q gives %d fields", body, len(got))
		}
	}
	if _, err := wire.FormOf(kind, []byte(parts(many[1:]...))); err != nil {
		t.Errorf("%d fields: %v", wire.MaxPairs, err)
	}
}

func FuzzFormOf(f *testing.F) {
	for _, seed := range []string{parts(field("a", "1"), field("b[]", "\xe9")), parts(), "--x\r\n", "a=1", "--x--"} {
		f.Add("multipart/form-data; boundary=x", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		form, err := wire.FormOf(kind, body)
		if err != nil {
			if len(err.Error()) > 100 {
				t.Errorf("the error quotes the body: %v", err)
			}
			return
		}
		if len(form) == 0 {
			t.Error("a form without fields is taken")
		}
		for key, values := range form {
			for _, text := range append(values, key) {
				if !utf8.ValidString(text) {
					t.Errorf("%q is not valid UTF-8", text)
				}
			}
		}
	})
}
