package privacy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// edit changes a JSON or form body: change is called with the number and the value of each
// leaf, and extra adds fields that no document of a provider has, to every object.
func edit(body []byte, change func(leaf int, old string) (string, bool), extra map[string]string) []byte {
	var tree any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(&tree) != nil {
		return editForm(body, change, extra)
	}
	leaf := 0
	out, err := json.Marshal(editTree(tree, &leaf, change, extra))
	if err != nil {
		panic(err)
	}
	return out
}

func editTree(tree any, leaf *int, change func(int, string) (string, bool), extra map[string]string) any {
	switch v := tree.(type) {
	case map[string]any:
		all := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			all[name] = editTree(v[name], leaf, change, extra)
		}
		for name, value := range extra {
			if _, taken := v[name]; !taken {
				all[name] = value
			}
		}
		if _, taken := v["payer"]; !taken && len(extra) > 0 {
			all["payer"] = extra
		}
		return all
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = editTree(v[i], leaf, change, extra)
		}
		return all
	default:
		text := fmt.Sprint(v)
		if v == nil {
			text = ""
		}
		next, changed := change(*leaf, text)
		*leaf++
		if changed {
			return next
		}
		return v
	}
}

func editForm(body []byte, change func(int, string) (string, bool), extra map[string]string) []byte {
	pairs := strings.Split(string(body), "&")
	for i, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		old, err := url.QueryUnescape(value)
		if err != nil {
			old = value
		}
		if next, changed := change(i, old); changed {
			pairs[i] = key + "=" + strings.ReplaceAll(url.QueryEscape(next), "+", "%20")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		value := url.QueryEscape(extra[name])
		pairs = append(pairs, name+"="+value, "transaction["+name+"]="+value, "transaction[customer][contacts][]["+name+"]="+value)
	}
	return []byte(strings.Join(pairs, "&"))
}

// leaves counts the leaves of a body.
func leaves(body []byte) (n int) {
	edit(body, func(int, string) (string, bool) { n++; return "", false }, nil)
	return n
}

// with is a body with one leaf replaced.
func with(body []byte, leaf int, text string) []byte {
	return edit(body, func(i int, _ string) (string, bool) { return text, i == leaf }, nil)
}

// unknown are fields that no adapter reads, one for each canary.
func unknown(all []canary) map[string]string {
	extra := map[string]string{}
	for i, c := range all {
		extra[fmt.Sprintf("x_%d", i)] = c.text
	}
	for i, name := range []string{
		"cpf", "taxId", "cnpj", "document", "email", "fullName", "address", "phone", "cardNumber", "card", "qrCode", "qrcode", "pixKey",
		"buyer", "consumer", "token", "secret", "access_token", "zip", "observation", "description", "notes",
	} {
		extra[name] = all[i%len(all)].text
	}
	return extra
}
