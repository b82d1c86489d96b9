package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"arauto/deploy/runtime/config"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/operator"
)

// nowPage is the data of the first page.
type nowPage struct {
	*snapshot

	First    *operator.Need // What is worst, nil for nothing.
	Others   []operator.Need
	Progress progress
	Ready    uint64 // Messages that a worker could take now.
	Oldest   float64
}

// now fills the first page: how the deployment is.
func (s *site) now(_ *http.Request, v *view) error {
	page := nowPage{snapshot: s.watch.last.Load(), Progress: s.follow.progress()}
	if len(page.Found) > 0 {
		page.First, page.Others = &page.Found[0], page.Found[1:]
	}
	for _, c := range page.Health.Consumers {
		page.Ready += c.Pending + uint64(max(c.AckPending, 0))
		page.Oldest = max(page.Oldest, c.Oldest)
	}
	v.Title, v.Every, v.Data, v.AsOf = "now.title", fastEvery, page, s.watch.seenAt()
	return nil
}

// broker fills the page of streams and consumers.
func (s *site) broker(_ *http.Request, v *view) error {
	last := s.watch.last.Load()
	v.Title, v.Every, v.Data, v.AsOf = "broker.title", fastEvery, last, s.watch.seenAt()
	return nil
}

// accountRow is one account of the page of providers.
type accountRow struct {
	Provider, Account string
	Circuit           *record.Circuit // nil for a closed circuit.
	Hosts             []record.Circuit
	Limit             config.RateLimit
	Seen              seen
	Failed            map[string]int // Failed look-ups of what is scheduled, by class.
	Unknown           int            // Scheduled look-ups of payments that the provider does not know, of the first 5,000.
	Paused            bool
	Pending           uint64
	Oldest            float64
}

// providersPage is the data of the page of providers.
type providersPage struct {
	*snapshot

	Rows   []accountRow
	Failed map[string]int
	Acts   bool
}

// providers fills the page of providers and accounts.
func (s *site) providers(_ *http.Request, v *view) error {
	last := s.watch.last.Load()
	page := providersPage{snapshot: last, Failed: last.Health.Parked.Failed, Acts: v.Acts}
	for _, provider := range providers.All.Names() {
		for _, name := range s.Config().AccountNames(provider) {
			row := accountRow{
				Provider: provider, Account: name, Limit: s.Config().RateLimitOf(provider, name),
				Seen: s.watch.answers.of(account{provider, name}), Failed: last.Health.Parked.Failures[provider+"/"+name], Unknown: last.Health.Parked.Unknown[provider+"/"+name],
			}
			for _, c := range last.Health.Circuits {
				switch {
				case c.Provider != provider:
				case c.OfHost():
					row.Hosts = append(row.Hosts, c)
				case c.Account == name:
					row.Circuit = &c
				}
			}
			for _, c := range last.Health.Consumers {
				if of, ok := subject.ParseLookupConsumer(c.Name); ok && of == provider {
					row.Paused = row.Paused || c.Paused && last.Health.HeldUntil == nil
					row.Pending += c.Pending + uint64(max(c.AckPending, 0))
					row.Oldest = max(row.Oldest, c.Oldest)
				}
			}
			page.Rows = append(page.Rows, row)
		}
	}
	v.Title, v.Every, v.Data, v.AsOf = "providers.title", slowEvery, page, s.watch.seenAt()
	return nil
}

// deadPage is the data of the page of dead letters.
type deadPage struct {
	Query   letterQuery
	States  []record.State
	Classes []record.Class
	Groups  []group
	Letters []deadletter.Entry
	Job     *job
	Acts    bool
	Next    string    // The address of the next page, "" for none.
	Watched *snapshot // What the list is of, nil if it was read for this page alone.

	chosen
}

// Count is how many dead letters were chosen, of which the page lists a part.
func (p deadPage) Count() int { return len(p.All) }

// lettersShown is how many dead letters the page lists one by one.
const lettersShown = 100

// dead fills the page of dead letters.
func (s *site) dead(r *http.Request, v *view) error {
	page := deadPage{
		Query: letterQueryOf(r), States: []record.State{record.Open, record.Redriven, record.Discarded, record.Resolved},
		Classes: []record.Class{record.ClassOurs, record.ClassProvider, record.ClassData, record.ClassSubscriber},
		Job:     s.jobs.last(), Acts: v.Acts,
	}
	var err error
	if page.chosen, err = s.watch.letters.choose(r.Context(), s.JS, page.Query, s.Now()); err != nil {
		return err
	}
	if page.Watched = s.watch.last.Load(); page.Query.Unit != "" || page.Query.Before > 0 && page.To < page.Query.Before {
		page.Watched = nil
	}
	page.Groups = groups(page.All, page.Query.Before)
	page.Groups = page.Groups[:min(len(page.Groups), lettersShown)]
	listed := page.All
	if page.Query.Before > 0 {
		listed = listed[len(listed)-countBelow(listed, page.Query.Before):]
	}
	page.Letters = slices.Clone(listed[:min(len(listed), lettersShown)])
	switch next := page.Query; {
	case len(listed) > lettersShown:
		next.Before = page.Letters[lettersShown-1].Sequence
		page.Next = next.address()
	case page.Older > 0:
		next.Before = page.From
		page.Next = next.address()
	}
	for i, e := range page.Letters {
		page.Letters[i].Payment, page.Letters[i].Order = s.Tokens.Shown(e.Payment), s.Tokens.Shown(e.Order)
	}
	v.Title, v.Every, v.AsOf, v.Data = "dead.title", slowEvery, page.At, page
	if !page.Read {
		v.AsOf = s.watch.seenAt()
	}
	if page.Query.Before > 0 {
		v.Every = 0 // It was read for this page alone.
	}
	return nil
}

// countBelow is how many of the entries, of which the newest is first, are below a sequence.
func countBelow(all []deadletter.Entry, sequence uint64) int {
	at, _ := slices.BinarySearchFunc(all, sequence, func(e deadletter.Entry, below uint64) int { return cmp.Compare(below, e.Sequence+1) })
	return len(all) - at
}

// address is the page that the query fills.
func (q letterQuery) address() string {
	values := url.Values{}
	for name, value := range q.fields() {
		values.Set(name, value)
	}
	if q.State != record.Open {
		values.Set("state", string(q.State))
	}
	return "/dead?" + values.Encode()
}

// letterQueryOf reads what is chosen off an address or a form.
func letterQueryOf(r *http.Request) letterQuery {
	q := letterQuery{
		Class: r.FormValue("class"), Stage: r.FormValue("stage"), Provider: r.FormValue("provider"),
		Word: r.FormValue("word"), Cause: r.FormValue("cause"), ID: r.FormValue("id"), Unit: r.FormValue("unit"), State: record.State(r.FormValue("state")),
	}
	q.Before, _ = strconv.ParseUint(r.FormValue("before"), 10, 64) // 0 for what is no number.
	if !slices.Contains([]record.State{record.Redriven, record.Discarded, record.Resolved}, q.State) {
		q.State = record.Open
	}
	return q
}
