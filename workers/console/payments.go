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
	Age      string // The band of the last event, counted from 0. "" for any.
	Currency string // withoutAmount for payments without one, "" for any.
	Oldest   bool
	Statuses []order.Status
	Choices  []string // Providers with accounts.
	Ages     []choice
	Totals   []index.Total
	Found    []listed
	Next     string // The address of the next page, "" for none.
	Progress progress
	Searched bool   // A text was searched for.
	Partly   string // Why more could not be searched, "" otherwise.
	Unread   int    // How many of the newest messages of each stream were searched, 0 for all.
	Stopped  bool   // The search stopped at maxFound payments.
}

// withoutAmount is the currency by which payments without an amount are chosen.
const withoutAmount = "none"

// choice is one of several values of a filter.
type choice struct{ Value, Key string }

// ages are the bands of index.Ages, with the keys of their texts.
var ages = []choice{{"0", "payments.today"}, {"1", "payments.week"}, {"2", "payments.month"}, {"3", "payments.older"}}

// payments fills the list of payments, or what a search finds.
func (s *site) payments(r *http.Request, v *view) error {
	q := r.URL.Query()
	page := paymentsPage{
		Query: strings.TrimSpace(q.Get("q")), Status: order.Status(q.Get("status")), Provider: q.Get("provider"),
		Currency: q.Get("currency"), Oldest: q.Get("sort") == "oldest", Progress: s.follow.progress(), Statuses: allStatuses(), Ages: ages,
	}
	if of := q.Get("age"); slices.ContainsFunc(ages, func(c choice) bool { return c.Value == of }) {
		page.Age = of
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
	if v.AsOf.IsZero() {
		v.AsOf = page.Progress.Whole
	}
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
	if page.Age != "" {
		band, _ := strconv.Atoi(page.Age) // It is one of ages.
		q.Since, q.Before = index.Within(s.Now(), band)
	}
	if page.Days > 0 {
		if at := s.Now().Add(-time.Duration(page.Days) * 24 * time.Hour); q.Before.IsZero() || at.Before(q.Before) {
			q.Before = at
		}
	}
	if page.Currency != "" {
		q.Currency = new(string)
		if page.Currency != withoutAmount {
			q.Currency = &page.Currency
		}
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
	for name, value := range map[string]string{"status": string(p.Status), "provider": p.Provider, "currency": p.Currency, "age": p.Age, "after": after} {
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

// Filtered reports whether the list has only some of the payments.
func (p paymentsPage) Filtered() bool {
	p.Oldest = false
	return len(p.values("")) > 0
}

// Currencies are all currencies of payments.
func (p paymentsPage) Currencies() (all []string) {
	for _, t := range p.Totals {
		if t.Currency != "" && !slices.Contains(all, t.Currency) {
			all = append(all, t.Currency)
		}
	}
	slices.Sort(all)
	return all
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
func (p paymentsPage) Band(of index.Total, band int) string {
	chosen := paymentsPage{Status: of.Status, Currency: cmp.Or(of.Currency, withoutAmount), Age: strconv.Itoa(band), Oldest: true}
	return "/payments?" + chosen.values("").Encode()
}
