package console

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// tongue is a language of the pages, as in the attribute lang.
type tongue string

// The languages. English is that of a browser which asks for neither.
const (
	english    tongue = "en"
	portuguese tongue = "pt-BR"
)

var tongues = []tongue{english, portuguese}

var matcher = language.NewMatcher([]language.Tag{language.English, language.BrazilianPortuguese})

// languageOf is the language that a browser asks for.
func languageOf(r *http.Request) tongue {
	_, at := language.MatchStrings(matcher, r.Header.Get("Accept-Language"))
	return tongues[at]
}

// say is the text of a key. A key that is not in the table is shown as it is, which a test
// refuses.
func (l tongue) say(key string, args ...any) string {
	words, ok := table[key]
	if !ok {
		return key
	}
	text := words.English
	if l == portuguese {
		text = words.Portuguese
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// word is the text of a word of ours, such as a status, and the word itself if there is none:
// providers' words are shown as they are.
func (l tongue) word(family string, word any) string {
	text := fmt.Sprint(word)
	if _, ok := table[family+"."+text]; ok {
		return l.say(family + "." + text)
	}
	return text
}

// functions are those of the templates.
func (l tongue) functions() template.FuncMap {
	return template.FuncMap{
		"t": l.say, "word": l.word, "money": l.money, "number": l.number, "date": date, "stamp": stamp, "took": l.took, "body": body,
		"pathOf": pathOf, "seconds": func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) },
		"span": func(a, b time.Time) time.Duration { return b.Sub(a) }, "dict": dict,
		"shown": shownToken, "quoted": quoted, "operand": operand, "class": func(what string) string { return strings.ReplaceAll(what, " ", "-") },
	}
}

// dict makes the argument of a template out of names and values.
func dict(pairs ...any) (map[string]any, error) {
	made := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("name %v is not a text", pairs[i])
		}
		made[name] = pairs[i+1]
	}
	return made, nil
}

// money is a sum of minor units with the separators of the language.
func (l tongue) money(minor int64, currency string) string {
	sign, whole, decimal := "", ",", "."
	if l == portuguese {
		whole, decimal = ".", ","
	}
	if minor < 0 {
		sign, minor = "-", -minor
	}
	digits, unit := order.Digits(currency), int64(1)
	for range digits {
		unit *= 10
	}
	name := currency
	if currency == "BRL" {
		name = "R$"
	}
	text := name + " " + sign + grouped(minor/unit, whole)
	if digits > 0 {
		text += decimal + fmt.Sprintf("%0*d", int(digits), minor%unit)
	}
	return text
}

// quoted is an argument of a command for a shell. Ids and searches come from outside, and a
// person copies the command.
func quoted(argument string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-/:@+", r))
	}
	if argument != "" && strings.IndexFunc(argument, func(r rune) bool { return !plain(r) }) < 0 {
		return argument
	}
	return "'" + strings.ReplaceAll(argument, "'", `'\''`) + "'"
}

// operand is quoted for the last argument of a command, which is no flag.
func operand(argument string) string {
	if strings.HasPrefix(argument, "-") {
		return "-- " + quoted(argument)
	}
	return quoted(argument)
}

// number is a count, rounded to a whole one.
func (l tongue) number(n any) string {
	separator := ","
	if l == portuguese {
		separator = "."
	}
	switch n := n.(type) {
	case int:
		return grouped(int64(n), separator)
	case uint64:
		return grouped(int64(n), separator)
	case int64:
		return grouped(n, separator)
	case float64:
		return grouped(int64(n+0.5), separator)
	default:
		return fmt.Sprint(n)
	}
}

// grouped writes a number with a separator after each three digits.
func grouped(n int64, separator string) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteString(separator)
		}
		b.WriteRune(d)
	}
	return b.String()
}

// date is a time for machines; a browser shows it in its own time zone.
func date(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// stamp is a time for people without JavaScript, and what the others see until it has run.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// took is a duration in its largest two units.
func (l tongue) took(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatInt(int64(d.Seconds()), 10) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// body is a document as indented JSON.
func body(document any) (string, error) {
	text, err := json.MarshalIndent(document, "", "  ")
	return string(text), err
}

// pathOf is the address of a payment's page.
func pathOf(u subject.Unit) string {
	return "/payments/" + url.PathEscape(u.Provider) + "/" + url.PathEscape(u.Account) + "/" + url.PathEscape(u.Payment)
}
