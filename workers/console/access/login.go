package access

import (
	"embed"
	"errors"
	"html/template"
	"net/http"
	"strconv"

	"go.uber.org/zap"
	"golang.org/x/text/language"
)

//go:embed page.html page.css
var files embed.FS

var pages = template.Must(template.ParseFS(files, "page.html"))

// stylePath serves the stylesheet of the log-in and of refusals, in every mode.
const stylePath = LoginPath + "/style.css"

// texts are the words of the log-in and of refusals in one language.
type texts struct {
	Language, Title, Name, Password, Submit, Wrong, Wait, Busy, Ended, Unknown, Foreign, Reader, Back, LoginLink string
}

var english = texts{
	Language: "en", Title: "Log in", Name: "Name", Password: "Password", Submit: "Log in",
	Wrong:     "The name or the password is wrong.",
	Wait:      "Too many attempts. Wait half a minute and try again.",
	Busy:      "Too many people are logging in. Try again in some seconds.",
	Ended:     "Your session has ended. Log in again.",
	Unknown:   "You may not use this console. Ask for a role in console.access.",
	Foreign:   "This request did not come from a page of the console, or the page is too old. Nothing was changed. Load the page again.",
	Reader:    "Your role may look, but not act. Nothing was changed.",
	Back:      "To the console",
	LoginLink: "Log in",
}

var portuguese = texts{
	Language: "pt-BR", Title: "Entrar", Name: "Nome", Password: "Senha", Submit: "Entrar",
	Wrong:     "O nome ou a senha está errado.",
	Wait:      "Tentativas demais. Espere meio minuto e tente de novo.",
	Busy:      "Pessoas demais estão entrando. Tente de novo em alguns segundos.",
	Ended:     "Sua sessão terminou. Entre de novo.",
	Unknown:   "Você não pode usar este console. Peça um papel em console.access.",
	Foreign:   "Este pedido não veio de uma página do console, ou a página é antiga. Nada foi mudado. Carregue a página de novo.",
	Reader:    "Seu papel pode ver, mas não agir. Nada foi mudado.",
	Back:      "Ao console",
	LoginLink: "Entrar",
}

var languages = language.NewMatcher([]language.Tag{language.English, language.BrazilianPortuguese, language.Portuguese})

// words are English unless the browser asks for Portuguese first.
func words(r *http.Request) texts {
	wanted, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	if err != nil {
		return english
	}
	if _, i, _ := languages.Match(wanted...); i > 0 {
		return portuguese
	}
	return english
}

// pageData fills page.html.
type pageData struct {
	Words texts
	Style string
	Text  string // What happened, "" for nothing.
	Form  bool   // The log-in.
	Next  string
	Name  string
	Token string
	Login string // The log-in, "" for no link.
	Back  string // Where to go, "" for no link.
}

func (a *Access) page(w http.ResponseWriter, r *http.Request, status int, data pageData) {
	data.Words, data.Style = words(r), stylePath
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Vary", "Accept-Language, Cookie")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if err := pages.Execute(w, data); err != nil {
		a.log.Debug("page.write_failed", zap.Error(err))
	}
}

// login shows the form and takes it in.
func (a *Access) login(w http.ResponseWriter, r *http.Request, s *Settings, v visitor) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		a.page(w, r, http.StatusOK, pageData{Form: true, Token: v.token, Next: inside(r.URL.Query().Get("next"))})
	case http.MethodPost:
		a.try(w, r, s, v)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

// try is one log-in. The name that was typed is logged only if it is a user's: people type
// passwords there.
func (a *Access) try(w http.ResponseWriter, r *http.Request, s *Settings, v visitor) {
	name, next := r.PostFormValue("name"), inside(r.PostFormValue("next"))
	user, known := s.Users[name]
	logged := []zap.Field{zap.Stringer("address", v.address)}
	if known {
		logged = append(logged, zap.String("person", name))
	}
	again := pageData{Form: true, Token: v.token, Next: next, Name: name}
	refuse := func(outcome string, status int, text string) {
		a.metrics.login(outcome)
		a.log.Warn("login."+outcome, logged...)
		again.Text = text
		a.page(w, r, status, again)
	}
	if !a.throttle.allow(v.address, name, known, s.Now()) {
		w.Header().Set("Retry-After", strconv.Itoa(int(loginPause.Seconds())))
		refuse("throttled", http.StatusTooManyRequests, words(r).Wait)
		return
	}
	right, err := a.checker.right(r.Context(), user, known, r.PostFormValue("password"))
	switch {
	case errors.Is(err, errBusy):
		w.Header().Set("Retry-After", "5")
		refuse("busy", http.StatusServiceUnavailable, words(r).Busy)
	case !right:
		refuse("refused", http.StatusForbidden, words(r).Wrong)
	default:
		// A new cookie: the one from before the log-in may be known to another person.
		a.sessions.stop(v.sent)
		a.sessions.begin(s.setCookie(w), name, s)
		a.throttle.loggedIn(v.address, name)
		a.metrics.login("accepted")
		a.log.Info("login.accepted", append(logged, zap.Stringer("role", user.Role))...)
		http.Redirect(w, r, next, http.StatusSeeOther) //nolint:gosec // A path of this site: see inside.
	}
}

// logout ends the session.
func (a *Access) logout(w http.ResponseWriter, r *http.Request, s *Settings, v visitor) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	a.sessions.stop(v.sent)
	s.setCookie(w)
	if v.session != nil {
		a.log.Info("logout.accepted", zap.String("person", v.person.Name), zap.Stringer("address", v.address))
	}
	// What the browser keeps of the pages goes too.
	w.Header().Set("Clear-Site-Data", `"cache"`)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *Access) style(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=300")
	http.ServeFileFS(w, r, files, "page.css")
}
