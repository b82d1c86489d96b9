package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/config"
	"arauto/schemas/subject"
	"arauto/workers/console/access"
	"arauto/workers/console/index"
	"arauto/workers/operator"
)

// Options are what the pages work with.
type Options struct {
	Config func() *config.Config // The one in use; a reload replaces it.
	Tokens subject.Tokens
	JS     jetstream.JetStream // Of the user that only reads.
	Index  *index.Index
	Log    *zap.Logger
	Now    func() time.Time

	Acts        jetstream.JetStream // Of the user that acts; nil if no page changes anything.
	LogsIn      func() bool         // Whether there is a page to log in; nil for never.
	RemoveAfter time.Duration       // As sweep removes payments, 0 for never.
}

// site is all pages.
type site struct {
	Options

	watch  *watch
	follow *follower
	jobs   *jobs
	turns  *turns
	pages  map[tongue]map[string]*template.Template
	rest   time.Duration // holdRest, but in tests.
}

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed static
var staticFiles embed.FS

// pageLimit bounds the work for one page, in time. The search by content takes some seconds.
const pageLimit = 15 * time.Second

func newSite(o Options) (*site, error) {
	s := &site{Options: o, watch: newWatch(o), jobs: newJobs(o), turns: newTurns(), rest: holdRest}
	s.follow = newFollower(o, &s.watch.letters)
	var err error
	s.pages, err = parsePages()
	return s, err
}

// parsePages parses each page once per language.
func parsePages() (map[tongue]map[string]*template.Template, error) {
	names, err := fs.Glob(pageFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("list pages: %w", err)
	}
	all := map[tongue]map[string]*template.Template{}
	for _, l := range tongues {
		all[l] = map[string]*template.Template{}
		for _, name := range names {
			page, err := template.New("layout.html").Option("missingkey=error").Funcs(l.functions()).
				ParseFS(pageFiles, "pages/layout.html", "pages/parts.html", name)
			if err != nil {
				return nil, fmt.Errorf("parse page: %w", err)
			}
			all[l][strings.TrimSuffix(strings.TrimPrefix(name, "pages/"), ".html")] = page
		}
	}
	return all, nil
}

// handler serves every page.
func (s *site) handler() http.Handler {
	static, _ := fs.Sub(staticFiles, "static") // The folder is embedded.
	mux := http.NewServeMux()
	mux.Handle("GET /static/", cached(http.StripPrefix("/static/", http.FileServerFS(static))))
	mux.HandleFunc("GET "+livePath, s.live)
	mux.HandleFunc("GET /{$}", s.page("now", s.now))
	mux.HandleFunc("GET /payments", s.page("payments", s.payments))
	mux.HandleFunc("GET /payments/{provider}/{account}/{payment}", s.page("payment", s.payment))
	mux.HandleFunc("GET /dead", s.page("dead", s.dead))
	mux.HandleFunc("GET /providers", s.page("providers", s.providers))
	mux.HandleFunc("GET /broker", s.page("broker", s.broker))
	if s.Acts != nil {
		mux.Handle("GET /act/{verb}", access.Require(access.Operator, s.page("confirm", s.confirm)))
		mux.Handle("POST /act/{verb}", access.Require(access.Operator, http.HandlerFunc(s.act)))
	}
	mux.HandleFunc("GET /", s.page("missing", func(*http.Request, *view) error { return errNoPage }))
	return mux
}

// cached lets a browser keep what is part of the binary for an hour.
func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		next.ServeHTTP(w, r)
	})
}

// view is what a template gets.
type view struct {
	Page  string // The name of its template.
	Path  string // Of the address, for marking the present page in the menu.
	Title string
	Lang  tongue
	AsOf  time.Time // When the reading of what is shown began.
	Every int       // Seconds between two refreshes, 0 for none.
	Acts  bool      // The person may act.
	Who   string    // The person's name, "" without a log-in.
	Token string    // What a form must carry.
	Login bool      // There is a page to log in.
	ToAct bool      // A person who logs in may act.
	Data  any

	now   func() time.Time
	leave func() // Gives back the turn of a costly page, once.
}

// errNoPage means that there is no such page.
var errNoPage = errors.New("there is no such page")

// page renders a page whose data fill reads. A refresh gets the content without the frame
// around it.
func (s *site) page(name string, fill func(*http.Request, *view) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pageLimit)
		defer cancel()
		s.watch.want()
		v := s.view(name, r)
		r = r.WithContext(ctx)
		leave, err := s.turn(r)
		defer leave()
		if v.leave = leave; err == nil {
			err = fill(r, v)
		}
		if err != nil {
			s.fail(w, r, v, err)
			return
		}
		s.render(w, r, v, http.StatusOK)
	}
}

// view is what every page's template gets.
func (s *site) view(name string, r *http.Request) *view {
	person, login := access.From(r.Context()), s.LogsIn != nil && s.LogsIn()
	return &view{
		Page: name, Path: r.URL.Path, Lang: languageOf(r), AsOf: s.Now(), now: s.Now, leave: func() {}, Who: person.Name, Token: access.Token(r.Context()),
		Acts: s.Acts != nil && person.Role >= access.Operator, Login: login, ToAct: s.Acts != nil && login && person.Name == "",
	}
}

// render writes a page. It is rendered before the first byte is sent, so that an error can
// still be answered as one.
func (s *site) render(w http.ResponseWriter, r *http.Request, v *view, code int) {
	if v.AsOf.IsZero() {
		v.AsOf = s.Now()
	}
	name := "layout.html"
	if r.Header.Get("X-Fragment") != "" {
		name = "content"
	}
	var body bytes.Buffer
	if err := s.pages[v.Lang][v.Page].ExecuteTemplate(&body, name, v); err != nil {
		s.Log.Error("page.failed", zap.String("page", v.Page), zap.Error(err))
		http.Error(w, "the page cannot be shown; the log says why", http.StatusInternalServerError)
		return
	}
	v.leave() // A reader who is slow to read keeps no turn.
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", string(v.Lang))
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Language, X-Fragment")
	h.Set("X-Every", strconv.Itoa(v.Every))
	h.Set("X-As-Of", v.AsOf.UTC().Format(time.RFC3339))
	w.WriteHeader(code)
	_, _ = w.Write(body.Bytes()) // It fails when the client is gone.
}

// failure is what the page of an error shows.
type failure struct {
	Missing bool    // There is nothing of that name.
	Busy    bool    // Too many pages are being made. Without either the broker did not answer.
	Cause   string  // "" where there is nothing to add.
	Last    *listed // Of a payment: its last event that the console has read, nil for none.
}

// fail shows what could not be read. Nothing is known then, and the page says so.
func (s *site) fail(w http.ResponseWriter, r *http.Request, v *view, err error) {
	v.Page, v.Title, v.Every = "failed", "failed.title", 0
	if errors.Is(err, errNoPage) || errors.Is(err, operator.ErrNothingKnown) {
		v.Data = failure{Missing: true}
		s.render(w, r, v, http.StatusNotFound)
		return
	}
	if errors.Is(err, errBusy) {
		w.Header().Set("Retry-After", "2")
		v.Data, v.Every = failure{Busy: true}, slowEvery
		s.render(w, r, v, http.StatusServiceUnavailable)
		return
	}
	s.Log.Warn("page.unavailable", zap.String("route", r.Pattern), zap.Error(err)) // An address may have a personal id.
	shown := failure{Cause: err.Error()}
	if unit, ok := s.unitOf(r); ok {
		if p, known, err := s.Index.Get(unit); err == nil && known {
			last := lineOf(p)
			shown.Last = &last
		}
	}
	v.Data, v.Every = shown, slowEvery
	s.render(w, r, v, http.StatusServiceUnavailable)
}

// open opens the deployment for a page that only reads.
func (s *site) open(ctx context.Context) (*operator.Deployment, error) {
	return operator.Open(ctx, s.JS, s.Config(), s.Tokens, "")
}

// entry is one link of the menu.
type entry struct {
	Path, Key string
	Here      bool
}

// Menu is the links to the pages.
func (v *view) Menu() []entry {
	all := []entry{
		{Path: "/", Key: "menu.now"}, {Path: "/payments", Key: "menu.payments"}, {Path: "/dead", Key: "menu.dead"},
		{Path: "/providers", Key: "menu.providers"}, {Path: "/broker", Key: "menu.broker"},
	}
	for i := range all {
		all[i].Here = all[i].Path == v.Path || all[i].Path != "/" && strings.HasPrefix(v.Path, all[i].Path)
	}
	return all
}
