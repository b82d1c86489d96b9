package console

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// newestLetters is how many of the newest messages of DEAD_LETTERS are kept in memory: about
// 20 MB. Older dead letters are in `arauto dead list` and on the pages of their payments.
const newestLetters = 10_000

// letters are the newest dead letters, each in its latest state.
type letters struct {
	mu     sync.Mutex
	all    map[deadletter.Name]deadletter.Entry
	read   uint64    // Sequence on DEAD_LETTERS up to which they were read.
	since  time.Time // Creation time of the stream.
	older  uint64    // Messages of the stream before the oldest that was read.
	readAt time.Time // Zero for never.
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
	skipped := state.LastSeq > read+newestLetters
	if skipped {
		read = state.LastSeq - newestLetters
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
		l.all, l.older = map[deadletter.Name]deadletter.Entry{}, 0
	}
	if skipped {
		l.older = read - min(read, state.FirstSeq-1)
	}
	l.read, l.since = max(read, state.LastSeq), created
	for _, e := range fresh {
		l.all[e.Name()] = e
		l.read = max(l.read, e.Sequence)
	}
	// What the stream no longer has, and what is older than the newest that are kept.
	for name, e := range l.all {
		if e.Sequence < state.FirstSeq || l.read > newestLetters && e.Sequence <= l.read-newestLetters {
			delete(l.all, name)
		}
	}
	l.readAt = now
	return nil
}

// window is how many older messages were not read, and when the others were.
func (l *letters) window() (older uint64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.older, l.readAt
}

// remove drops the dead letters of a payment that was erased.
func (l *letters) remove(gone func(deadletter.Entry) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, e := range l.all {
		if gone(e) {
			delete(l.all, name)
		}
	}
}

// letterQuery chooses dead letters. "" is any.
type letterQuery struct {
	Class, Stage, Provider, Word, Cause, ID string
	Unit                                    string // Of a payment, as in subjects.
	State                                   record.State
}

func (q letterQuery) matches(e deadletter.Entry) bool {
	return (q.Class == "" || q.Class == string(e.Class)) && (q.Stage == "" || q.Stage == e.Stage) &&
		(q.Provider == "" || q.Provider == e.Provider) && (q.Word == "" || q.Word == e.ProviderStatus) &&
		(q.Cause == "" || q.Cause == e.Cause) && (q.ID == "" || q.ID == e.ID) &&
		(q.Unit == "" || q.Unit == e.Unit.String()) && q.State == e.State
}

// chosen are the dead letters of a query, the newest first.
func (l *letters) chosen(q letterQuery) []deadletter.Entry {
	l.mu.Lock()
	var all []deadletter.Entry
	for _, e := range l.all {
		if q.matches(e) {
			all = append(all, e)
		}
	}
	l.mu.Unlock()
	slices.SortFunc(all, func(a, b deadletter.Entry) int { return cmp.Compare(b.Sequence, a.Sequence) })
	return all
}

// group is the open dead letters with one class, stage, provider, word and cause.
type group struct {
	Class, Stage, Provider, Word, Cause, Next string
	Count                                     int
	Newest                                    time.Time
}

// groups counts the chosen dead letters, the largest group first.
func groups(all []deadletter.Entry) []group {
	var made []group
	at := map[group]int{}
	for _, e := range all {
		key := group{Class: string(e.Class), Stage: e.Stage, Provider: e.Provider, Word: e.ProviderStatus, Cause: e.Cause}
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
