package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arauto/schemas/wire"
)

// acceptable is a slow second opinion on what Object may take, by the
// tokens of encoding/json.
func acceptable(body []byte) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	first, err := d.Token()
	return err == nil && first == json.Delim('{') && objectIsFine(d, 1) && json.Valid(body)
}

func objectIsFine(d *json.Decoder, depth int) bool {
	var seen []string
	for d.More() {
		token, err := d.Token()
		key, ok := token.(string)
		if err != nil || !ok || !valueIsFine(d, depth) {
			return false
		}
		for _, other := range seen {
			if other == key {
				return false
			}
		}
		seen = append(seen, key)
	}
	_, err := d.Token()
	return err == nil && depth <= wire.MaxDepth
}

func valueIsFine(d *json.Decoder, depth int) bool {
	token, err := d.Token()
	if err != nil {
		return false
	}
	switch token {
	case json.Delim('{'):
		return objectIsFine(d, depth+1)
	case json.Delim('['):
		for d.More() {
			if !valueIsFine(d, depth+1) {
				return false
			}
		}
		_, err = d.Token()
		return err == nil && depth+1 <= wire.MaxDepth
	}
	return true
}

// documents are JSON objects of few keys, so that they often come twice, and
// with everything in strings that could mislead a reader.
func documents() *rapid.Generator[string] {
	key := rapid.SampledFrom([]string{
		`a`, `A`, `b`, `k`, `\u212a`, `K`, `ſ`, `s`, `\u0061`, `\"`, `\\`, `{`, `}`, `,`, `[`, `é`, `É`, `\u00e9`, ``,
		`x0`, `x1`, `x2`, `x3`, `x4`, `x5`, `x6`, `x7`, `x8`, `x9`, `\n`, `\ud800`,
	})
	space := rapid.SampledFrom([]string{"", " ", "\n\t"})
	var value func(t *rapid.T, depth int) string
	value = func(t *rapid.T, depth int) string {
		kind := rapid.IntRange(0, 5).Draw(t, "kind")
		if depth == 0 && kind < 2 {
			kind += 2
		}
		var parts []string
		switch kind {
		case 0, 1:
			for range rapid.IntRange(0, 4).Draw(t, "length") {
				part := space.Draw(t, "space") + value(t, depth-1)
				if kind == 0 {
					part = `"` + key.Draw(t, "key") + `":` + part
				}
				parts = append(parts, part)
			}
			return []string{"{", "["}[kind] + strings.Join(parts, ",") + []string{"}", "]"}[kind]
		case 2:
			return `"` + key.Draw(t, "text") + `"`
		}
		return rapid.SampledFrom([]string{"null", "1", "-0.5e3", "true"}).Draw(t, "scalar")
	}
	return rapid.Custom(func(t *rapid.T) string {
		var parts []string
		for range rapid.IntRange(0, 5).Draw(t, "length") {
			parts = append(parts, `"`+key.Draw(t, "key")+`":`+value(t, 4))
		}
		return "{" + strings.Join(parts, ",") + "}"
	})
}

func TestObjectAgreesWithTheSecondOpinion(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		body := []byte(documents().Draw(t, "document"))
		if rapid.Bool().Draw(t, "damage") && len(body) > 0 {
			body[rapid.IntRange(0, len(body)-1).Draw(t, "at")] = rapid.SampledFrom([]byte(`{}[]",:\ a`)).Draw(t, "by")
		}
		var dst struct{}
		if err := wire.Object(body, &dst); (err == nil) != acceptable(body) {
			t.Fatalf("%s: %v", body, err)
		}
	})
}

func TestManyKeysAreComparedInTime(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`{"k0":0`)
	for i := range 100_000 {
		fmt.Fprintf(&b, `,"k%d":0`, i+1)
	}
	var dst struct{}
	if err := wire.Object([]byte(b.String()+"}"), &dst); err != nil {
		t.Error(err)
	}
	if err := wire.Object([]byte(b.String()+`,"k77":0}`), &dst); err == nil {
		t.Error("a key may come twice among many")
	}
}

func BenchmarkObject(b *testing.B) {
	body := []byte(`{"type":"PAYMENT","id":"21b91897-a897-49bc-b16e-6256f0bf2368","data":{"status":"AUTHORIZED","amount":10000,"merchantChargeId":"61e35ec2"}}`)
	var dst struct {
		Type string `json:"type"`
	}
	b.ReportAllocs()
	for range b.N {
		if err := wire.Object(body, &dst); err != nil {
			b.Fatal(err)
		}
	}
}
