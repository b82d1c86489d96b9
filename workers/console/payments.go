package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
	"arauto/workers/console/index"
	"arauto/workers/operator"
)

const (
	// pageSize is how many payments a page lists.
	pageSize = 50
	// maxFound is how many payments a search shows.
	maxFound = 100
	// searchNewest is how many of the newest messages of each stream are read for payments
	// without an event, which the index does not have.
	searchNewest = 500
	// longestSearch is the longest text that is searched for, in bytes: the longest id.
	longestSearch = subject.MaxID
)

// listed is one line of a list of payments.
type listed struct {
	index.Payment

	Path  string
	Shown string // Its id, or the token of a personal one.
	Known bool   // The index has it.
}

// paymentsPage is the data of the list of payments.
type paymentsPage struct {
	Query    string
	Status   order.Status
	Provider string
	Days     int
	Oldest   bool
	Statuses []order.Status
	Choices  []string // Providers with accounts.
	Totals   []index.Total
	Found    []listed
	Next     string // The address of the next page, "" for none.
	Progress progress
	Searched bool   // A text was searched for.
	Partly   string // Why more could not be searched, "" otherwise.
	Unread   int    // How many of the newest messages of each stream were searched, 0 for all.
	Stopped  bool   // The search stopped at maxFound payments.
}

// payments fills the list of payments, or what a search finds.
func (s *site) payments(r *http.Request, v *view) error {
	q := r.URL.Query()
	page := paymentsPage{
		Query: strings.TrimSpace(q.Get("q")), Status: order.Status(q.Get("status")), Provider: q.Get("provider"),
		Oldest: q.Get("sort") == "oldest", Progress: s.follow.progress(), Statuses: allStatuses(),
	}
	page.Days, _ = strconv.Atoi(q.Get("days")) // 0 for what is no number.
	page.Days = min(max(page.Days, 0), 3650)
	for _, name := range providers.All.Names() {
		if len(s.Config().AccountNames(name)) > 0 {
			page.Choices = append(page.Choices, name)
		}
	}
	if !slices.Contains(page.Statuses, page.Status) {
		page.Status = ""
	}
	v.Title, v.Every, v.AsOf = "payments.title", slowEvery, page.Progress.At
	var err error
	if page.Query != "" {
		v.Every, page.Searched = 0, true
		err = s.search(r.Context(), &page)
	} else {
		err = s.list(&page, q.Get("after"))
	}
	v.Data = page
	return err
}

// allStatuses are the statuses of every kind.
func allStatuses() []order.Status {
	var all []order.Status
	for _, kind := range order.Kinds() {
		for _, status := range kind.Statuses() {
			if !slices.Contains(all, status) {
				all = append(all, status)
			}
		}
	}
	return all
}

// list reads a page of the list and the totals.
func (s *site) list(page *paymentsPage, after string) error {
	q := index.Query{Status: page.Status, Provider: page.Provider, Oldest: page.Oldest, After: after, Limit: pageSize}
	if page.Days > 0 {
		q.Before = s.Now().Add(-time.Duration(page.Days) * 24 * time.Hour)
	}
	found, err := s.Index.List(q)
	if err != nil {
		if after != "" {
			return errNoPage
		}
		return err
	}
	for _, p := range found.Payments {
		page.Found = append(page.Found, lineOf(p))
	}
	if found.Next != "" {
		page.Next = "/payments?" + page.values(found.Next).Encode()
	}
	page.Totals, err = s.Index.Totals(s.Now())
	return err
}

// values are the parameters of the page's address.
func (p paymentsPage) values(after string) url.Values {
	values := url.Values{}
	for name, value := range map[string]string{"status": string(p.Status), "provider": p.Provider, "after": after} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if p.Oldest {
		values.Set("sort", "oldest")
	}
	if p.Days > 0 {
		values.Set("days", strconv.Itoa(p.Days))
	}
	return values
}

func lineOf(p index.Payment) listed {
	return listed{Payment: p, Path: pathOf(p.Unit), Shown: shownToken(p.Unit.Payment), Known: true}
}

// shownToken is the id that a token encodes, or the token of a personal one.
func shownToken(token string) string {
	if id, err := url.PathUnescape(token); err == nil {
		return id
	}
	return token
}

// search finds payments by order, own id and provider's reference: in the index, and those
// without an event at the broker.
func (s *site) search(ctx context.Context, page *paymentsPage) error {
	if len(page.Query) > longestSearch {
		return nil
	}
	var units []subject.Unit
	for _, name := range providers.All.Names() {
		for _, account := range s.Config().AccountNames(name) {
			units = append(units, subject.Unit{Provider: name, Account: account})
		}
	}
	for _, token := range slices.Compact([]string{s.Tokens.Token(page.Query), page.Query}) { // A token that was copied finds its payment too.
		if !subject.IsToken(token) {
			continue
		}
		found, err := s.Index.Find(token, units, maxFound)
		if err != nil {
			return err
		}
		for _, p := range found {
			page.add(lineOf(p))
		}
	}
	if page.Stopped = len(page.Found) >= maxFound; page.Stopped {
		page.Found = page.Found[:maxFound]
		return nil
	}
	d, err := s.open(ctx)
	if err == nil {
		var (
			more   []operator.Found
			unread bool
		)
		if more, unread, err = d.Find(ctx, page.Query, searchNewest); unread {
			page.Unread = searchNewest
		}
		for _, one := range more {
			p := listed{Payment: index.Payment{Unit: one.Unit, Order: s.Tokens.Token(cmp.Or(one.Order, one.Payment))}, Path: pathOf(one.Unit), Shown: one.Payment}
			page.add(p)
		}
	}
	if err != nil && !errors.Is(err, operator.ErrNothingKnown) {
		page.Partly = err.Error()
	}
	return nil
}

// Whole reports whether everything that is stored was searched.
func (p paymentsPage) Whole() bool {
	return p.Partly == "" && p.Unread == 0 && !p.Stopped && !p.Progress.Building() && p.Progress.Err == nil
}

// add adds a payment that is not there yet.
func (p *paymentsPage) add(one listed) {
	if !slices.ContainsFunc(p.Found, func(l listed) bool { return l.Unit == one.Unit }) {
		p.Found = append(p.Found, one)
	}
}

// Band is the address of the payments that a cell of the totals counts, the oldest first.
func (p paymentsPage) Band(status order.Status, band int) string {
	values := url.Values{"status": {string(status)}}
	if band > 0 && band <= len(index.Ages) {
		values.Set("days", strconv.FormatInt(index.Ages[band-1]+1, 10))
	}
	return "/payments?" + values.Encode()
}
