package wire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arauto/schemas/wire"
)

type sample struct {
	Name   string     `json:"name"`
	Status string     `json:"status"`
	ID     wire.Text  `json:"id"`
	Hint   wire.Loose `json:"hint"`
	Count  int64      `json:"count"`
}

func TestObjectReadsOneObject(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]sample{
		`{}`:                                                       {},
		" \n{\"name\":\"a\"}\n ":                                   {Name: "a"},
		`{"name":null,"id":null,"hint":null}`:                      {},
		`{"id":"x","other":[{"a":1},{"a":2}]}`:                     {ID: "x"},
		`{"id":12345678901234567890}`:                              {ID: "12345678901234567890"},
		`{"id":1e2,"hint":1.50}`:                                   {ID: "1e2", Hint: "1.50"},
		`{"hint":{"a":1},"name":"b"}`:                              {Name: "b"},
		`{"hint":[1],"name":"b"}`:                                  {Name: "b"},
		`{"hint":true,"name":"b"}`:                                 {Name: "b"},
		`{"k":1,"K":2,"id":"x"}`:                                   {ID: "x"}, // Nobody reads them.
		`{"i_d":"a","-id":"b","id":"x"}`:                           {ID: "x"},
		"\xef\xbb\xbf" + ` {"name":"a"}`:                           {Name: "a"},
		"{\"note\":\"Jo\xe3o\",\"id\":\"x\"}":                      {ID: "x"}, // Nobody reads it.
		"{\"no\xe3\":1,\"id\":\"x\"}":                              {ID: "x"},
		"{\"name\":\"Jo\xe3o\",\"id\":\"\xe3\"}":                   {Name: "Jo\ufffdo", ID: "\ufffd"},
		nested(wire.MaxDepth):                                      {},
		`{"a":[` + strings.Repeat("{},", 2*wire.MaxDepth) + `{}]}`: {},
	} {
		var got sample
		if err := wire.Object([]byte(body), &got); err != nil || got != want {
			t.Errorf("%.80s gives %+v, %v", body, got, err)
		}
	}
}

func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth-1) + "{}" + strings.Repeat("}", depth-1)
}

func TestObjectRefusesEverythingElse(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"":                        "not JSON",
		"x":                       "not JSON",
		"null":                    "not a JSON object",
		"[]":                      "not a JSON object",
		"1":                       "not a JSON object",
		`{"a":1`:                  "cut off",
		`{"a":[1,{"b":`:           "cut off",
		`{}{}`:                    "behind",
		`{"a":1,"a":1}`:           "twice",
		`{"name":"a","NAME":"b"}`: "twice",
		`{"status":"1","` + "\u017f" + `tatus":"2"}`: "twice",
		`{"id":1,"i_d":2,"ID":3}`:                    "twice",
		`{"a":[{"b":1,"b":2}]}`:                      "twice",
		nested(wire.MaxDepth + 1):                    "nests",
		`{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`: "nests",
		"\xef\xbb\xbf":               "not JSON",
		"\xef\xbb\xbf\xef\xbb\xbf{}": "not JSON",
		"\xef\xbb\xbfnull":           "not a JSON object",
		"{\"a\":\"\xff\",\"a\":1}":   "twice",
		"{\"a\":\"\xff":              "cut off",
		"{\xff:1}":                   "not JSON",
		`{"name":{"secret":1}}`:      "field name has the wrong type",
		`{"count":1.5}`:              "field count has the wrong type",
		`{"id":{"secret":1}}`:        "wrong type",
	} {
		var got sample
		err := wire.Object([]byte(body), &got)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s gives %v, want %q", body, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error quotes the body: %v", err)
		}
	}
}

// TestObjectSeesEveryKeyThatJSONMatches guards the one thing that lets two
// readers disagree: a key that encoding/json takes for another one.
func TestObjectSeesEveryKeyThatJSONMatches(t *testing.T) {
	t.Parallel()
	for r := rune(1); r < 0x3000; r++ {
		key, err := json.Marshal(string(r) + "tatus")
		if err != nil {
			t.Fatal(err)
		}
		var one sample
		if json.Unmarshal([]byte(`{`+string(key)+`:"x"}`), &one) != nil || one.Status == "" {
			continue
		}
		var both sample
		if wire.Object([]byte(`{`+string(key)+`:"x","status":"y"}`), &both) == nil {
			t.Errorf("json takes %q for status, and it may come twice", key)
		}
	}
}

func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{"name":"a","id":1}`, `{"a":[1,{"b":null}]}`, nested(40), `{"a":1,"A":2}`, "null", "{", "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got sample
		err := wire.Object(body, &got)
		if err != nil {
			if len(err.Error()) > 100 {
				t.Errorf("the error quotes the body: %v", err)
			}
			return
		}
		var doc map[string]any
		if json.Unmarshal(body, &doc) != nil || doc == nil {
			t.Errorf("%q is no object", body)
		}
	})
}

func TestTextCents(t *testing.T) {
	t.Parallel()
	for text, want := range map[wire.Text]int64{"": 0, "20.51": 2051, "100": 10000} {
		if got, err := text.Cents(); err != nil || got != want {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
	if _, err := wire.Text("x").Cents(); err == nil {
		t.Error("a text that is no amount is taken")
	}
}

func TestTextIsWhatTheStandardDecoderReads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.String().Draw(t, "text")
		raw, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got wire.Text
		if err := got.UnmarshalJSON(raw); err != nil || string(got) != strings.ToValidUTF8(want, "\ufffd") {
			t.Errorf("%s reads as %q, %v", raw, got, err)
		}
	})
}

func TestPartIsAnObjectOrNotThere(t *testing.T) {
	t.Parallel()
	type body struct {
		Part wire.Part[struct {
			A wire.HintID `json:"a"`
		}] `json:"part"`
		Next string `json:"next"`
	}
	for text, want := range map[string]string{`{"a":"b"}`: "b", `{"x":[{}],"A":"b"}`: "b", `{"a":"\u00e9"}`: "é", `{"a":1}`: "1", `{"a":{"a":"b"}}`: ""} {
		var got body
		if err := wire.Object([]byte(`{"part": `+text+`,"next":"n"}`), &got); err != nil || got.Part.Fields.A.Loose() != want || got.Next != "n" || !got.Part.Present {
			t.Errorf("%s reads as %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{`null`, `[]`, `[{"a":"b"}]`, `"a"`, `1`} {
		var got body
		if err := wire.Object([]byte(`{"part":`+text+`,"next":"n"}`), &got); err != nil || got.Part.Fields.A.Loose() != "" || got.Next != "n" || got.Part.Present == (text == "null") {
			t.Errorf("%s reads as %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{`{"a":"b","a":"c"}`, `{"a":"b","A":"c"}`, `[{"b":1,"b":2}]`, `{"a":"b"`, ``} {
		if err := wire.Object([]byte(`{"part":`+text+`,"next":"n"}`), new(body)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

func TestStructIsAnObjectOrNotThere(t *testing.T) {
	t.Parallel()
	type body struct {
		Part wire.Struct[struct {
			A wire.ID `json:"a"`
		}] `json:"part"`
		List []wire.Struct[struct {
			A wire.ID `json:"a"`
		}] `json:"list"`
		Next string `json:"next"`
	}
	for text, want := range map[string]wire.ID{
		`{"a":"b"}`: "b", `{"x":[{}],"A":"b"}`: "b", `{}`: "", `null`: "", `[]`: "", "[ \n]": "",
	} {
		var got body
		err := wire.Object([]byte(`{"part": `+text+`,"list":[`+text+`,{"a":"c"}],"next":"n"}`), &got)
		if err != nil || got.Part.Fields.A != want || got.List[0].Fields.A != want || got.List[1].Fields.A != "c" || got.Next != "n" {
			t.Errorf("%s reads as %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		`[{}]`: "field part has the wrong type", `[[]]`: "field part has the wrong type", `"a"`: "field part has the wrong type", `1`: "field part has the wrong type",
		`false`: "field part has the wrong type", `{"a":{}}`: "field part.a has the wrong type", `{"a":1,"A":2}`: "twice", `[{"b":1,"b":2}]`: "twice", `[`: "not JSON",
	} {
		if err := wire.Object([]byte(`{"part":`+text+`,"next":"n"}`), new(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %q", text, err, want)
		}
	}
}

func TestMapIsAnObject(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{`{}`: 0, `[]`: 0, ` {"a":1,"b":"\u00e9"}`: 2, "{\"a\":\"\xff\"}": 1, `null`: 0} {
		if got, err := wire.Map([]byte(text)); err != nil || len(got) != want {
			t.Errorf("%s reads as %v, %v", text, got, err)
		}
	}
	for _, text := range []string{``, `1`, `"a"`, `[1]`, `[[]]`, `{"a":1,"a":2}`, `{`} {
		if got, err := wire.Map([]byte(text)); err == nil {
			t.Errorf("%s reads as %v", text, got)
		}
	}
}

// ids are what may stand where an id does, and the id, "!" for none.
var ids = map[string]string{
	`null`: "", `""`: "", `"a"`: "a", `"\u00e9"`: "é", `"é"`: "é", `"1e5"`: "1e5",
	`1`: "1", `0`: "0", `102030`: "102030", `12345678901234567890123`: "12345678901234567890123",
	`1e5`: "!", `1E5`: "!", `1.0`: "!", `1.5`: "!", `-1`: "!", `-0`: "!",
	`true`: "!", `[]`: "!", `{"a":"b"}`: "!", "\"\xe3\"": "!", `"\ud800"`: "!",
}

func TestIDIsTextOrDigits(t *testing.T) {
	t.Parallel()
	for text, want := range ids {
		got := struct {
			ID wire.ID `json:"id"`
		}{"before"}
		err := wire.Object([]byte(`{"id":`+text+`}`), &got)
		if (err != nil) != (want == "!") || err == nil && string(got.ID) != want {
			t.Errorf("%s is %q, %v", text, got.ID, err)
		}
		if err != nil && err.Error() != "field id has the wrong type" {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestHintIDIsAnIDWhereItIsAskedFor(t *testing.T) {
	t.Parallel()
	for text, want := range ids {
		var got struct {
			ID wire.HintID `json:"id"`
		}
		if err := wire.Object([]byte(`{"id":`+text+`}`), &got); err != nil {
			t.Fatal(err)
		}
		loose := want
		if want == "!" {
			loose = ""
		}
		strict, err := got.ID.Strict()
		if got.ID.Loose() != loose || (err != nil) != (want == "!") || err == nil && strict != want {
			t.Errorf("%s is %q or %q, %v", text, got.ID.Loose(), strict, err)
		}
	}
}
