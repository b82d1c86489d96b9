package providertest

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"arauto/schemas/provider"
)

// layout are the sections of a fixture in the order of its file, and computed those of them
// that -update writes.
var (
	layout = []string{
		"settings", "personal", "webhook.query", "webhook.headers", "webhook.secret", "webhook.id", "webhook.body",
		"notice.json", "notice.error", "login.question", "login.status", "login.body", "token", "token.error",
		"question", "answer.status", "answer.body", "fact.json", "error",
	}
	computed = []string{
		"notice.json", "notice.error", "login.question", "token", "token.error", "question", "fact.json", "error",
	}
)

// Dir is a folder of fixtures that -update can write to.
func Dir(path string) fs.FS { return folder{FS: os.DirFS(path), path: path} }

type folder struct {
	fs.FS
	path string
}

// fixture is one case of one provider.
type fixture struct {
	p       provider.Provider
	name    string
	comment []byte
	files   map[string]string

	// Fixtures repeat each other's webhooks. What is asked once of each, and
	// once of each kind, keeps the suite quick.
	newWebhook bool
	newHeaders bool
	newAnswer  bool
}

// load reads every fixture. A file that is no fixture, or has a section with a
// misspelt name, is an error, because it would prove nothing.
func load(t testing.TB, p provider.Provider, fixtures fs.FS) []*fixture {
	t.Helper()
	names, err := fs.Glob(fixtures, "*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("provider %s has no fixtures: %v", p.Name, err)
	}
	all := make([]*fixture, 0, len(names))
	for _, name := range names {
		raw, err := fs.ReadFile(fixtures, name)
		if err != nil {
			t.Fatal(err)
		}
		archive := txtar.Parse(raw)
		c := &fixture{p: p, name: strings.TrimSuffix(name, ".txtar"), comment: archive.Comment, files: map[string]string{}}
		for _, f := range archive.Files {
			if _, twice := c.files[f.Name]; twice || !slices.Contains(layout, f.Name) {
				t.Fatalf("%s: section %q is unknown or comes twice", name, f.Name)
			}
			c.files[f.Name] = string(f.Data)
		}
		if len(strings.TrimSpace(string(c.comment))) == 0 || !c.has("webhook.body") {
			t.Fatalf("%s: needs a comment and a webhook.body", name)
		}
		all = append(all, c)
	}
	mark(all)
	return all
}

// mark says which fixtures bring something new.
func mark(all []*fixture) {
	seen := map[string]bool{}
	first := func(parts ...string) bool {
		key := strings.Join(parts, "\x00")
		known := seen[key]
		seen[key] = true
		return !known
	}
	for _, c := range all {
		header, settings := c.text("webhook.headers"), c.text("settings")+c.text("webhook.query")
		c.newHeaders = first("headers", header, settings)
		c.newWebhook = first("webhook", header, settings, c.text("webhook.body"))
		if f, err := c.fact(); err == nil && c.has("answer.status") {
			c.newAnswer = first("answer", string(f.Kind), settings)
		}
	}
}

// write puts the computed sections into the file.
func (c *fixture) write(t *testing.T, fixtures fs.FS, got map[string]string) {
	t.Helper()
	dir, ok := fixtures.(folder)
	if !ok {
		t.Fatal("these fixtures cannot be written; use Dir")
	}
	archive := &txtar.Archive{Comment: c.comment}
	for _, name := range layout {
		text, ok := c.files[name]
		if slices.Contains(computed, name) {
			text, ok = got[name]
		}
		if ok {
			archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(text)})
		}
	}
	if err := os.WriteFile(filepath.Join(dir.path, c.name+".txtar"), txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (c *fixture) has(section string) bool {
	_, ok := c.files[section]
	return ok
}

// text is a section without its last newline, which txtar adds.
func (c *fixture) text(section string) string { return strings.TrimSuffix(c.files[section], "\n") }

func (c *fixture) personal() []string {
	return slices.DeleteFunc(strings.Split(c.text("personal"), "\n"), func(s string) bool { return s == "" })
}

// webhook is the fixture's, in fresh memory.
func (c *fixture) webhook() provider.Webhook { return c.with(c.text("webhook.body")) }

// with is the fixture's webhook with another body.
func (c *fixture) with(body string) provider.Webhook { return c.sent(c.text("webhook.query"), body) }

// sent is the fixture's webhook with another query and body.
func (c *fixture) sent(query, body string) provider.Webhook {
	return provider.Webhook{
		Method: http.MethodPost, Path: "/v1/" + c.p.Name + "/notifications", Query: c.p.Parameters(query),
		Header: headers(c.text("webhook.headers")), Body: []byte(body), At: arrival,
	}
}

// read is the first notice of a webhook: what is asked of a payment is asked of the first.
func (c *fixture) read(w provider.Webhook) (provider.Notice, error) {
	all, err := c.p.Notices(w)
	if err != nil {
		return provider.Notice{}, err
	}
	return all[0], nil
}

func headers(text string) provider.HeaderMap {
	h := provider.HeaderMap{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":"); ok {
			name = strings.ToLower(strings.TrimSpace(name))
			h[name] = append(h[name], strings.TrimSpace(value))
		}
	}
	return h
}

// reply is the provider's reply to the "login" or the look-up, which is the "answer".
func (c *fixture) reply(to string) provider.Reply {
	status, _ := strconv.Atoi(strings.TrimSpace(c.text(to + ".status"))) // 0 for none.
	return provider.Reply{Status: status, Body: []byte(c.text(to + ".body"))}
}

// account has every setting: the fixture's value, else the default, else for
// required ones a made-up value that would be recognised anywhere.
func (c *fixture) account() provider.Account {
	settings := madeUp(c.p)
	for name, values := range headers(c.text("settings")) {
		settings[name] = values[0]
	}
	return provider.Account{Name: "default", Settings: settings}
}

func madeUp(p provider.Provider) map[string]string {
	settings := map[string]string{}
	for _, s := range p.Settings {
		settings[s.Name] = s.Default
		switch {
		case s.Default != "" || !s.Required:
		case s.URL:
			settings[s.Name] = "https://provider.test/base"
		default:
			settings[s.Name] = fmt.Sprintf("made-up-%s-7f3a", s.Name)
		}
	}
	return settings
}

// secrets are the account's secret settings by name.
func (c *fixture) secrets() map[string]string {
	found := map[string]string{}
	settings := c.account().Settings
	for _, s := range c.p.Settings {
		if s.Secret && settings[s.Name] != "" {
			found[s.Name] = settings[s.Name]
		}
	}
	return found
}
