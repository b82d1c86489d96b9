package console

import (
	"net/http"
	"slices"

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
	v.Title, v.Every, v.Data, v.AsOf = "now.title", fastEvery, page, page.At
	return nil
}

// broker fills the page of streams and consumers.
func (s *site) broker(_ *http.Request, v *view) error {
	last := s.watch.last.Load()
	v.Title, v.Every, v.Data, v.AsOf = "broker.title", fastEvery, last, last.At
	return nil
}

// accountRow is one account of the page of providers.
type accountRow struct {
	Provider, Account string
	Circuit           *record.Circuit // nil for a closed circuit.
	Hosts             []record.Circuit
	Limit             config.RateLimit
	Seen              seen
	Unknown           int // Scheduled look-ups of payments that the provider does not know, of the first 5,000.
	Paused            bool
	Pending           uint64
	Oldest            float64
}

// providersPage is the data of the page of providers.
type providersPage struct {
	Read   bool
	Rows   []accountRow
	Failed map[string]int
	Acts   bool
}

// providers fills the page of providers and accounts.
func (s *site) providers(_ *http.Request, v *view) error {
	last := s.watch.last.Load()
	page := providersPage{Read: !last.At.IsZero(), Failed: last.Health.Parked.Failed, Acts: v.Acts}
	for _, provider := range providers.All.Names() {
		for _, account := range s.Config().AccountNames(provider) {
			row := accountRow{
				Provider: provider, Account: account, Limit: s.Config().RateLimitOf(provider, account),
				Seen: s.watch.answers.of(provider, account), Unknown: last.Health.Parked.Unknown[provider+"/"+account],
			}
			for _, c := range last.Health.Circuits {
				switch {
				case c.Provider != provider:
				case c.OfHost():
					row.Hosts = append(row.Hosts, c)
				case c.Account == account:
					row.Circuit = &c
				}
			}
			for _, c := range last.Health.Consumers {
				if of, ok := subject.ParseLookupConsumer(c.Name); ok && of == provider {
					row.Paused = row.Paused || c.Paused
					row.Pending += c.Pending + uint64(max(c.AckPending, 0))
					row.Oldest = max(row.Oldest, c.Oldest)
				}
			}
			page.Rows = append(page.Rows, row)
		}
	}
	v.Title, v.Every, v.Data, v.AsOf = "providers.title", slowEvery, page, last.At
	return nil
}

// deadPage is the data of the page of dead letters.
type deadPage struct {
	Query   letterQuery
	States  []record.State
	Classes []record.Class
	Groups  []group
	Letters []deadletter.Entry
	Count   int
	Read    bool
	Older   uint64 // Messages that were not read.
	Job     *job
	Acts    bool
}

// lettersShown is how many dead letters the page lists one by one.
const lettersShown = 100

// dead fills the page of dead letters.
func (s *site) dead(r *http.Request, v *view) error {
	page := deadPage{
		Query: letterQueryOf(r), States: []record.State{record.Open, record.Redriven, record.Discarded, record.Resolved},
		Classes: []record.Class{record.ClassOurs, record.ClassProvider, record.ClassData, record.ClassSubscriber},
		Job:     s.jobs.last(), Acts: v.Acts,
	}
	page.Letters = s.watch.letters.chosen(page.Query)
	page.Count, page.Groups = len(page.Letters), groups(page.Letters)
	page.Letters = page.Letters[:min(len(page.Letters), lettersShown)]
	page.Groups = page.Groups[:min(len(page.Groups), lettersShown)]
	page.Older, v.AsOf = s.watch.letters.window()
	page.Read = !v.AsOf.IsZero()
	for i, e := range page.Letters {
		page.Letters[i].Payment, page.Letters[i].Order = s.Tokens.Shown(e.Payment), s.Tokens.Shown(e.Order)
	}
	v.Title, v.Every, v.Data = "dead.title", slowEvery, page
	return nil
}

// letterQueryOf reads what is chosen off an address or a form.
func letterQueryOf(r *http.Request) letterQuery {
	q := letterQuery{
		Class: r.FormValue("class"), Stage: r.FormValue("stage"), Provider: r.FormValue("provider"),
		Word: r.FormValue("word"), Cause: r.FormValue("cause"), ID: r.FormValue("id"), Unit: r.FormValue("unit"), State: record.State(r.FormValue("state")),
	}
	if !slices.Contains([]record.State{record.Redriven, record.Discarded, record.Resolved}, q.State) {
		q.State = record.Open
	}
	return q
}
