package privacy

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// canary is a text that must not be found, and that nothing else contains.
type canary struct {
	kind   string
	text   string
	inside []string // Parts of the text that must not be found either.
}

// canaries are personal data as merchants, payers and providers write it.
var canaries = []canary{
	{kind: "cpf", text: "52998224725"},
	{kind: "cpf_written", text: "529.982.247-25"},
	{kind: "cnpj", text: "12345678000195"},
	{kind: "cnpj_written", text: "12.345.678/0001-95"},
	{kind: "email", text: "zuleica.canario@example.com"},
	{kind: "name", text: "Zuleica Canário de Sá", inside: []string{"Zuleica"}},
	{kind: "address", text: "Rua dos Canários, 4711, ap. 12", inside: []string{"Rua dos Can"}},
	{kind: "phone", text: "+55 (11) 98765-4321", inside: []string{"98765-4321"}},
	{kind: "phone_plain", text: "+5511987654321"},
	{kind: "card", text: "4111 1111 1111 1111"},
	{kind: "card_plain", text: "4111111111111111"},
	{
		kind:   "qr",
		text:   "00020101021226840014br.gov.bcb.pix2562pix.example.com/v2/canario520400005303986540510.005802BR5913ZULEICA CANARIO6009SAO PAULO62070503***6304AB12",
		inside: []string{"br.gov.bcb.pix2562"},
	},
}

// ids are personal data that a merchant uses as the id of an order or a payment. The id is
// what a provider is asked for and what a subscriber knows the order by. So a stored document
// has it as payment and as order, and nothing else has it.
var ids = []canary{
	{kind: "id_cpf", text: "39053344705"},
	{kind: "id_cpf_written", text: "168.995.350-09"},
	{kind: "id_cnpj", text: "11444777000161"},
	{kind: "id_email", text: "pedido.canario@example.org"},
}

// secrets returns all secrets of the configuration and of the broker: the samples' of the
// providers, and made, which this deployment has besides.
func secrets(made ...string) []canary {
	var all []canary
	add := func(kind, text string) {
		if text != "" && !slices.ContainsFunc(all, func(c canary) bool { return c.text == text }) {
			all = append(all, canary{kind: kind, text: text})
		}
	}
	for _, p := range providers.All {
		for _, account := range accounts {
			add(p.Name+" webhook secret of "+account, provider.OfAccount(account, p.Sample.Secret))
			for _, s := range p.Settings {
				if value := p.Sample.Settings[s.Name]; s.Secret && value != "" {
					add(p.Name+" "+s.Name+" of "+account, provider.OfAccount(account, value))
				}
			}
		}
	}
	for i, text := range made {
		add(fmt.Sprintf("secret %d of the deployment", i), text)
	}
	return all
}

// needles are the forms in which a text may be written down: as it stands, in a URL, in JSON,
// and in base64 at each of the three places in a group of bytes.
func (c canary) needles() [][]byte {
	var all [][]byte
	add := func(text string) {
		if one := []byte(text); !slices.ContainsFunc(all, func(b []byte) bool { return bytes.Equal(b, one) }) {
			all = append(all, one)
		}
	}
	for _, text := range append([]string{c.text}, c.inside...) {
		add(text)
		add(url.QueryEscape(text))
		add(url.PathEscape(text))
		add(percent(text))
		quoted, err := json.Marshal(text)
		if err == nil {
			add(string(quoted[1 : len(quoted)-1]))
		}
		add(ascii(text))
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for before := range 3 {
				coded := encoding.EncodeToString(append(make([]byte, before), text...))
				// The characters at both ends hold bits of the neighbours.
				from, to := (before*8+5)/6, (before+len(text))*8/6
				add(coded[from:to])
			}
		}
	}
	return all
}

// percent is a text with every byte percent-encoded that a subject token has so.
func percent(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// ascii is a text as JSON that has escapes for all other characters.
func ascii(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// search looks for canaries in texts.
type search struct {
	t      testing.TB
	needle []needle
	found  map[string]bool // What was reported already.
}

type needle struct {
	kind string
	text []byte
}

func newSearch(t testing.TB, wanted ...[]canary) *search {
	s := &search{t: t, found: map[string]bool{}}
	for _, c := range slices.Concat(wanted...) {
		for _, text := range c.needles() {
			s.needle = append(s.needle, needle{c.kind, text})
		}
	}
	return s
}

// in reports every canary in a text as a failure, once for each place.
func (s *search) in(place string, text []byte) {
	s.t.Helper()
	for _, n := range s.needle {
		at := bytes.Index(text, n.text)
		if at < 0 || s.found[place+n.kind] {
			continue
		}
		s.found[place+n.kind] = true
		s.t.Errorf("%s holds the canary %s: %q", place, n.kind, text[max(0, at-120):min(len(text), at+len(n.text)+60)])
	}
}

// finds reports whether a text holds a canary.
func (s *search) finds(text []byte) bool {
	return slices.ContainsFunc(s.needle, func(n needle) bool { return bytes.Contains(text, n.text) })
}

func TestSearchFindsEveryForm(t *testing.T) {
	t.Parallel()
	for _, c := range slices.Concat(canaries, ids, secrets()) {
		s := newSearch(t, []canary{c})
		for name, written := range map[string]string{
			"raw": "a" + c.text + "b", "query": "x=" + url.QueryEscape(c.text), "path": "/" + url.PathEscape(c.text), "subject": percent(c.text),
			"json": `{"a":` + ascii(c.text) + `}`,
		} {
			if !s.finds([]byte(written)) {
				t.Errorf("%s is not found in the form %s: %s", c.kind, name, written)
			}
		}
		for before := range 6 {
			for after := range 4 {
				text := strings.Repeat("x", before) + c.text + strings.Repeat("y", after)
				if !s.finds([]byte(base64.StdEncoding.EncodeToString([]byte(text)))) || !s.finds([]byte(base64.RawURLEncoding.EncodeToString([]byte(text)))) {
					t.Errorf("%s is not found in base64 behind %d bytes", c.kind, before)
				}
			}
		}
		if s.finds([]byte("nothing of it")) {
			t.Errorf("%s is found in nothing", c.kind)
		}
	}
}
