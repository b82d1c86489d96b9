package wire_test

import (
	"errors"
	"strings"
	"testing"

	"arauto/schemas/wire"
)

func TestFieldErrorNamesTheFieldButNothingPersonal(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]wire.FieldError{
		`{"name": {"a": "canary"}}`:                                                              {Field: "name"},
		`{"name": "canary", "name": "b"}`:                                                        {Field: "name", Twice: true},
		`{"other_thing": {"a": "canary", "a": 1}}`:                                               {Field: "other_thing.a", Twice: true},
		`{"canary@example.com": 1, "canary@example.com": 2}`:                                     {Twice: true},
		`{"52998224725": "canary", "52998224725": 2}`:                                            {Twice: true},
		`{"` + strings.Repeat("canary", 20) + `": 1, "` + strings.Repeat("canary", 20) + `": 2}`: {Twice: true},
	} {
		var into struct {
			Name string `json:"name"`
		}
		err := wire.Object([]byte(body), &into)
		var got *wire.FieldError
		if !errors.As(err, &got) || *got != want || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %+v", body, err, want)
		}
	}
}
