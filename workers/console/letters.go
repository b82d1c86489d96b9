package console

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

const (
	// newestLetters is how many of the newest messages of DEAD_LETTERS are kept in memory: about
	// 20 MB. Older ones are read from the broker, a page at a time.
	newestLetters = 10_000
	// olderLetters is how many messages below them one page reads. Measured: 2,000 take a
	// second on a busy machine of two cores, half of it for the comparison.
	olderLetters = 500
	// checksAtOnce is how many of those are compared at once with what is stored above them.
	checksAtOnce = 16
)

// letters are the newest dead letters, each in its latest state.
type letters struct {
	keep, page uint64 // newestLetters and olderLetters, but in tests.

	mu     sync.Mutex
	all    map[deadletter.Name]deadletter.Entry
	newest []deadletter.Entry // The same, the newest first.
	read   uint64             // Sequence on DEAD_LETTERS up to which they were read.
	since  time.Time          // Creation time of the stream.
	floor  uint64             // The sequence above which all are here.
	first  uint64             // First sequence of the stream.
	readAt time.Time          // Zero for never.
}

// update reads what was stored since the last call.
func (l *letters) update(ctx context.Context, js jetstream.JetStream, now time.Time) error {
	store, err := deadletter.Open(ctx, js)
	if err != nil {
		return err
	}
	s, err := js.Stream(ctx, subject.DeadLetters)
	if err != nil {
		return err
	}
	state := s.CachedInfo().State
	l.mu.Lock()
	read, created := l.read, s.CachedInfo().Created
	again := !created.Equal(l.since) || state.LastSeq < read
	l.mu.Unlock()
	if again {
		read = 0
	}
	if state.LastSeq > read+l.keep {
		read = state.LastSeq - l.keep
	}
	var fresh []deadletter.Entry
	if state.LastSeq > read {
		if err := store.Each(ctx, subject.AllDeadLetters, read+1, func(e deadletter.Entry) error {
			fresh = append(fresh, e)
			return nil
		}); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if again || l.all == nil {
		l.all = map[deadletter.Name]deadletter.Entry{}
	}
	l.read, l.since = max(read, state.LastSeq), created
	for _, e := range fresh {
		l.all[e.Name()] = e
		l.read = max(l.read, e.Sequence)
	}
	// What the stream no longer has, and what is older than the newest that are kept.
	l.first = max(state.FirstSeq, 1)
	l.floor = max(l.read-min(l.read, l.keep), l.first-1)
	for name, e := range l.all {
		if e.Sequence <= l.floor {
			delete(l.all, name)
		}
	}
	l.readAt = now
	if again || len(fresh) > 0 || len(l.newest) != len(l.all) {
		l.newest = slices.Collect(maps.Values(l.all))
		slices.SortFunc(l.newest, newerFirst)
	}
	return nil
}

func newerFirst(a, b deadletter.Entry) int { return cmp.Compare(b.Sequence, a.Sequence) }

// remove drops the dead letters of a payment that was erased.
func (l *letters) remove(gone func(deadletter.Entry) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, e := range l.all {
		if gone(e) {
			delete(l.all, name)
		}
	}
	l.newest = slices.DeleteFunc(l.newest, gone)
}

// letterQuery chooses dead letters. "" is any.
type letterQuery struct {
	Class, Stage, Provider, Word, Cause, ID string
	Unit                                    string // Of a payment, as in subjects.
	State                                   record.State
	Before                                  uint64 // Only of messages below this sequence, 0 for the newest.
}

// chosen is what a query chose, and what was looked at for it.
type chosen struct {
	All      []deadletter.Entry // The newest first.
	From, To uint64             // The messages that were looked at. Zero for those of one payment.
	Older    uint64             // How many sequences are below them.
	Read     bool               // The broker was read.
	At       time.Time          // When it was.
}

// choose chooses dead letters: of one payment all, and otherwise each whose latest message is
// among the newest, or in the page below the sequence of the query.
func (l *letters) choose(ctx context.Context, js jetstream.JetStream, q letterQuery, now time.Time) (chosen, error) {
	l.mu.Lock()
	c := chosen{From: l.floor + 1, To: l.read, Read: !l.readAt.IsZero(), At: l.readAt}
	first := l.first
	l.mu.Unlock()
	var err error
	switch {
	case q.Unit != "":
		c = chosen{Read: true, At: now}
		c.All, err = ofUnit(ctx, js, q)
	case q.Before > 0 && q.Before <= c.From:
		c = chosen{From: max(q.Before-min(q.Before, l.page), first), To: q.Before - 1, Read: true, At: now}
		c.All, err = stored(ctx, js, q, c.From)
	default:
		c.All = l.matching(q)
	}
	if q.Unit == "" {
		c.Older = c.From - min(c.From, max(first, 1))
	}
	slices.SortFunc(c.All, newerFirst) // Quick for what is sorted.
	return c, err
}

// ofUnit reads the dead letters of one payment.
func ofUnit(ctx context.Context, js jetstream.JetStream, q letterQuery) ([]deadletter.Entry, error) {
	parts := strings.SplitN(q.Unit, ".", 3)
	if len(parts) != 3 || !subject.IsToken(parts[0]) || !subject.IsToken(parts[1]) || !subject.IsToken(parts[2]) {
		return nil, errNoPage
	}
	store, err := deadletter.Open(ctx, js)
	if err != nil {
		return nil, err
	}
	all, err := store.LatestOf(ctx, subject.Unit{Provider: parts[0], Account: parts[1], Payment: parts[2]}, subject.Any)
	return slices.DeleteFunc(all, func(e deadletter.Entry) bool { return !q.matches(e) }), err
}

// errEnough ends the reading of a page.
var errEnough = errors.New("enough was read")

// stored reads the chosen dead letters whose latest message is below the sequence of the
// query and not below from.
func stored(ctx context.Context, js jetstream.JetStream, q letterQuery, from uint64) ([]deadletter.Entry, error) {
	store, err := deadletter.Open(ctx, js)
	if err != nil {
		return nil, err
	}
	latest := map[deadletter.Name]deadletter.Entry{}
	err = store.Each(ctx, subject.AllDeadLetters, from, func(e deadletter.Entry) error {
		if e.Sequence >= q.Before {
			return errEnough
		}
		latest[e.Name()] = e
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	var (
		mu  sync.Mutex
		all []deadletter.Entry
	)
	group, checking := errgroup.WithContext(ctx)
	group.SetLimit(checksAtOnce)
	for _, e := range latest {
		if !q.matches(e) {
			continue
		}
		group.Go(func() error {
			is, err := store.IsLatest(checking, e)
			if is {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, e)
			}
			return err
		})
	}
	return all, group.Wait()
}

func (q letterQuery) matches(e deadletter.Entry) bool {
	return (q.Class == "" || q.Class == string(e.Class)) && (q.Stage == "" || q.Stage == e.Stage) &&
		(q.Provider == "" || q.Provider == e.Provider) && (q.Word == "" || q.Word == e.ProviderStatus) &&
		(q.Cause == "" || q.Cause == e.Cause) && (q.ID == "" || q.ID == e.ID) &&
		(q.Unit == "" || q.Unit == e.Unit.String()) && q.State == e.State
}

// matching are those of a query among the newest.
func (l *letters) matching(q letterQuery) (all []deadletter.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	matching := 0 // Counted first: an entry has half a kilobyte, which a growing slice copies again and again.
	for _, e := range l.newest {
		if q.matches(e) {
			matching++
		}
	}
	all = make([]deadletter.Entry, 0, matching)
	for _, e := range l.newest {
		if q.matches(e) {
			all = append(all, e)
		}
	}
	return all
}

// group is the open dead letters with one class, stage, provider, word and cause.
type group struct {
	Class, Stage, Provider, Word, Cause, Next string
	Count                                     int
	Newest                                    time.Time
	Before                                    uint64 // As in the query that chose them.
}

// groups counts dead letters that a query chose, the largest group first.
func groups(all []deadletter.Entry, before uint64) []group {
	var made []group
	at := map[group]int{}
	for _, e := range all {
		key := group{Class: string(e.Class), Stage: e.Stage, Provider: e.Provider, Word: e.ProviderStatus, Cause: e.Cause, Before: before}
		i, ok := at[key]
		if !ok {
			i = len(made)
			at[key] = i
			key.Next, key.Newest = e.Next, e.At
			made = append(made, key)
		}
		made[i].Count++
	}
	slices.SortStableFunc(made, func(a, b group) int { return cmp.Compare(b.Count, a.Count) })
	return made
}
