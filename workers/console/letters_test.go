package console

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"testing"
	"time"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

var (
	nextPage = regexp.MustCompile(`rel="next" href="([^"]*)"`)
	listedAs = regexp.MustCompile(`<small>([A-Z_]+-\d+)</small></td></tr>`)
)

// pages reads a list of dead letters to its end, and returns the ids of each page.
func (b *browser) pages(path string) (all [][]string) {
	b.T.Helper()
	for path != "" {
		if len(all) == 50 {
			b.T.Fatalf("the list does not end: %v", all)
		}
		page := b.see(path)
		var ids []string
		for _, one := range listedAs.FindAllStringSubmatch(page, -1) {
			ids = append(ids, one[1])
		}
		all, path = append(all, ids), ""
		if next := nextPage.FindStringSubmatch(page); next != nil {
			path = html.UnescapeString(next[1])
		}
	}
	return all
}

// many stores dead letters of 50 payments, of which the newest 20 messages are kept in memory
// and 10 are read for a page. Among the oldest, one is discarded and one has a younger one of
// the same payment. The last sequence is 52.
func (r *rig) many() {
	r.T.Helper()
	r.site.watch.letters.keep, r.site.watch.letters.page = 20, 10
	for n := range 50 {
		r.letter(fmt.Sprintf("p-%d", n+1), "odd")
	}
	store, err := deadletter.Open(r.Ctx, r.JS)
	r.Must(err)
	fifth, err := store.Last(r.Ctx, r.Unit("p-5"), record.StageNormalize)
	r.Must(err)
	r.Must(store.Mark(r.Ctx, fifth, record.Discarded, "tester", time.Now()))
	r.letter("p-7", "odd")
	r.look()
}

func TestEveryDeadLetterIsOnOnePage(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.many()
	b := r.browser("joao")
	var want []string
	for n := 51; n >= 1; n-- { // The letter on sequence 52 has the id 51.
		if n != 5 {
			want = append(want, deadletter.ID(subject.Statuses, uint64(n))) //nolint:gosec // Small.
		}
	}
	pages := b.pages("/dead")
	if got := slices.Concat(pages...); !slices.Equal(got, want) {
		t.Errorf("the pages list\n%v, want\n%v", got, want)
	}
	for _, one := range pages[1:] {
		if len(one) > 10 {
			t.Errorf("a page of older ones has %d", len(one))
		}
	}
	if got := slices.Concat(b.pages("/dead?state=discarded")...); !slices.Equal(got, []string{"STATUSES-5"}) {
		t.Errorf("discarded are %v", got)
	}
	if got := slices.Concat(b.pages("/dead?word=even")...); got != nil {
		t.Errorf("of another word are %v", got)
	}
	holds(t, b.see("/dead?before=33"), "10 dead letters", "the messages 23 to 32 of DEAD_LETTERS. 22 older")
	r.Must(r.Stream(subject.DeadLetters).Purge(r.Ctx))
	r.look()
	if got := slices.Concat(b.pages("/dead?before=33")...); got != nil {
		t.Errorf("of a purged stream are listed %v", got)
	}
}

func TestActionOnAnOlderPageTakesWhatItShows(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.run("job", r.site.jobs.run)
	r.many()
	b := r.browser("maria")
	const page = "/act/discard?word=odd&before=13"
	holds(t, b.see(page), "9 dead letters of 9 payments are given up", "the messages 3 to 12 of DEAD_LETTERS. Of the 2 older ones none")
	holds(t, b.see("/dead?before=13"), `href="/act/discard?before=13&amp;cause=`)
	if code, body, _ := b.confirm(page, url.Values{"reason": {"a test"}, "before": {"23"}}); code != http.StatusConflict {
		t.Errorf("another page than was confirmed: %d\n%s", code, body)
	}
	if code, body, _ := b.confirm(page, url.Values{"reason": {"a test"}}); code != http.StatusSeeOther {
		t.Fatalf("code %d:\n%s", code, body)
	}
	r.Until("the job has ended", func() bool { return !r.site.jobs.last().Runs() })
	var ids []string
	for _, a := range r.audits() {
		ids = append(ids, a.Letter)
	}
	want := []string{"STATUSES-3", "STATUSES-4", "STATUSES-6", "STATUSES-7", "STATUSES-8", "STATUSES-9", "STATUSES-10", "STATUSES-11", "STATUSES-12"}
	if !slices.Equal(ids, want) {
		t.Errorf("given up were %v, want %v", ids, want)
	}
	holds(t, b.see("/dead?before=13"), "None among these messages")
	holds(t, b.see("/act/redrive?unit=sandbox.default.p-1"), "1 dead letters of 1 payments")
	for _, unit := range []string{"sandbox.default", "sandbox.default.*", "x"} {
		if code, _, _ := b.send(http.MethodGet, "/act/redrive?unit="+unit, nil); code != http.StatusNotFound {
			t.Errorf("the unit %s: %d", unit, code)
		}
	}
}

func TestNewestDeadLettersAreListedInPagesToo(t *testing.T) {
	t.Parallel()
	r := start(t)
	var want []string
	for n := range lettersShown + 30 {
		want = append(want, r.letter(fmt.Sprintf("p-%d", n), "odd").ID)
	}
	slices.Reverse(want)
	r.look()
	pages := r.browser("joao").pages("/dead")
	if got := slices.Concat(pages...); len(pages) != 2 || !slices.Equal(got, want) {
		t.Errorf("%d pages list %v", len(pages), got)
	}
}
