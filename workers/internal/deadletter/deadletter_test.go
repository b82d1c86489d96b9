package deadletter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

func TestMain(m *testing.M) { testbench.Main(m) }

var unit = subject.Unit{Provider: "sandbox", Account: "default", Payment: "p"}

// rig is a broker and a store on it.
type rig struct {
	*testbench.Broker
	store *deadletter.Store
}

func setup(t *testing.T) *rig {
	t.Helper()
	r := &rig{Broker: testbench.Start(t, "sandbox")}
	r.store = r.open(r.JS)
	return r
}

func (r *rig) open(js jetstream.JetStream) *deadletter.Store {
	r.T.Helper()
	store, err := deadletter.Open(r.Ctx, js)
	r.Must(err)
	return store
}

// letter is a dead letter about an observation, with every field set.
func letter(observation uint64, class record.Class) record.DeadLetter {
	return record.DeadLetter{
		ID: deadletter.ID(subject.Statuses, observation), Class: class, Stage: "normalize",
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Order: "o",
		Cause: "illegal transition", Attempts: 3, LastAnswer: "answered", Stream: subject.Statuses, Sequence: observation,
		Observation: observation, ProviderStatus: "paid", Next: "look", At: time.Date(2026, 11, 22, 1, 2, 3, 4000, time.UTC),
	}
}

// upTo is normalize's reported function: a payment's dead letters ascend by
// observation.
func upTo(observation uint64) func(deadletter.Entry) bool {
	return func(last deadletter.Entry) bool { return last.Observation >= observation }
}

// never reports nothing as stored already.
func never(deadletter.Entry) bool { return false }

// stored reads every dead letter with its subject, in order.
func (r *rig) stored() (letters []record.DeadLetter, subjects []string) {
	r.T.Helper()
	stream, err := r.JS.Stream(r.Ctx, subject.DeadLetters)
	r.Must(err)
	for next := uint64(1); ; {
		m, err := stream.GetMsg(r.Ctx, next, jetstream.WithGetMsgSubject("dead.>"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return letters, subjects
		}
		r.Must(err)
		var l record.DeadLetter
		r.Must(json.Unmarshal(m.Data, &l))
		letters, subjects, next = append(letters, l), append(subjects, m.Subject), m.Sequence+1
	}
}

// observations are the dead letters' observations, in order.
func (r *rig) observations() (all []uint64) {
	r.T.Helper()
	letters, _ := r.stored()
	for _, l := range letters {
		all = append(all, l.Observation)
	}
	return all
}

func TestDeadLetterIsStoredUnderItsClass(t *testing.T) {
	t.Parallel()
	r := setup(t)
	want := letter(7, record.ClassData)
	r.Must(r.store.Put(r.Ctx, unit, want, want.ID, deadletter.SameID(want.ID)))
	letters, subjects := r.stored()
	statuses, err := r.JS.Stream(r.Ctx, subject.Statuses)
	r.Must(err)
	want.Created = map[string]time.Time{subject.Statuses: statuses.CachedInfo().Created}
	if len(letters) != 1 || !reflect.DeepEqual(letters[0], want) || subjects[0] != "dead.data.normalize.sandbox.default.p" {
		t.Errorf("stored %+v on %v", letters, subjects)
	}
	if want.ID != "STATUSES-7" {
		t.Errorf("its id is %q", want.ID)
	}
}

func TestConcurrentPutsStoreOne(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, observation := range []uint64{7, 8, 9} { // The first one, and behind other ones.
		l := letter(observation, record.ClassProvider)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if err := r.store.Put(r.Ctx, unit, l, l.ID, deadletter.SameID(l.ID)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if got := r.observations(); !reflect.DeepEqual(got, []uint64{7, 8, 9}) {
		t.Errorf("stored %v, want each once", got)
	}
}

// Also when the broker has forgotten the message ids, as it does after the duplicate
// window.
func TestReportedDeadLetterIsNotStoredAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, observation := range []uint64{7, 9, 8, 9, 7, 10} {
		l := letter(observation, record.ClassData)
		l.ID = deadletter.ID("AGAIN", uint64(time.Now().UnixNano()))
		r.Must(r.store.Put(r.Ctx, unit, l, l.ID, upTo(observation)))
	}
	if got := r.observations(); !reflect.DeepEqual(got, []uint64{7, 9, 10}) {
		t.Errorf("stored %v, want what had not been reported", got)
	}
}

func TestSameOriginalIsStoredOnceBehindAnother(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, observation := range []uint64{7, 8, 7} {
		l := letter(observation, record.ClassData)
		r.Must(r.store.Put(r.Ctx, unit, l, l.ID, deadletter.SameID(l.ID)))
	}
	if got := r.observations(); !reflect.DeepEqual(got, []uint64{7, 8}) {
		t.Errorf("stored %v", got)
	}
}

func TestPutExpectsTheLastOfItsStageInAnyClass(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Put(r.Ctx, unit, letter(7, record.ClassData), letter(7, record.ClassData).ID, upTo(7)))
	again := letter(7, record.ClassProvider)
	again.ID = "ANOTHER-1"
	r.Must(r.store.Put(r.Ctx, unit, again, again.ID, upTo(7)))
	elsewhere := letter(7, record.ClassData)
	elsewhere.ID, elsewhere.Stage = "ELSEWHERE-1", "lookup"
	r.Must(r.store.Put(r.Ctx, unit, elsewhere, elsewhere.ID, upTo(7)))
	other := unit
	other.Account = "acme"
	theirs := letter(7, record.ClassData)
	theirs.ID = "THEIRS-1"
	r.Must(r.store.Put(r.Ctx, other, theirs, theirs.ID, upTo(7)))
	_, subjects := r.stored()
	want := []string{
		"dead.data.normalize.sandbox.default.p", "dead.data.lookup.sandbox.default.p", "dead.data.normalize.sandbox.acme.p",
	}
	if !reflect.DeepEqual(subjects, want) {
		t.Errorf("stored on %v, want %v", subjects, want)
	}
}

// rival is a JetStream on which another writer is always first.
type rival struct {
	jetstream.JetStream
	moves []func()
}

// PublishMsg runs the next move first.
func (r *rival) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if len(r.moves) > 0 {
		move := r.moves[0]
		r.moves = r.moves[1:]
		move()
	}
	return r.JetStream.PublishMsg(ctx, m, opts...)
}

// overtaken is a store before each of whose writes one of the given dead letters is
// stored.
func (r *rig) overtaken(observations ...uint64) *deadletter.Store {
	js := &rival{JetStream: r.JS}
	for _, observation := range observations {
		js.moves = append(js.moves, func() {
			l := letter(observation, record.ClassOurs)
			l.ID = fmt.Sprintf("RIVAL-%d", observation)
			r.Must(r.store.Put(r.Ctx, unit, l, l.ID, never))
		})
	}
	return r.open(js)
}

func TestConflictIsDecidedAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	mine := letter(7, record.ClassData)
	r.Must(r.overtaken(5, 6).Put(r.Ctx, unit, mine, mine.ID, upTo(7)))
	if got := r.observations(); !reflect.DeepEqual(got, []uint64{5, 6, 7}) {
		t.Errorf("behind earlier ones: stored %v", got)
	}
	late := letter(8, record.ClassData)
	r.Must(r.overtaken(9).Put(r.Ctx, unit, late, late.ID, upTo(8)))
	if got := r.observations(); !reflect.DeepEqual(got, []uint64{5, 6, 7, 9}) {
		t.Errorf("behind a later one: stored %v", got)
	}
}

func TestEndlessConflictsAreAnError(t *testing.T) {
	t.Parallel()
	r := setup(t)
	many := make([]uint64, 30)
	for i := range many {
		many[i] = uint64(i + 1)
	}
	mine := letter(100, record.ClassData)
	if err := r.overtaken(many...).Put(r.Ctx, unit, mine, mine.ID, upTo(100)); err == nil {
		t.Error("a dead letter that was never stored is reported as stored")
	}
}

func TestPutWithoutBrokerIsAnError(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Stop()
	ctx, cancel := context.WithTimeout(r.Ctx, 2*time.Second)
	defer cancel()
	if err := r.store.Put(ctx, unit, letter(7, record.ClassData), letter(7, record.ClassData).ID, upTo(7)); err == nil {
		t.Error("without a broker, a dead letter is reported as stored")
	}
}

func TestDeadLetterBehindUnreadableOneIsStored(t *testing.T) {
	t.Parallel()
	r := setup(t)
	_, err := r.JS.Publish(r.Ctx, unit.DeadLetter("ours", "normalize"), []byte("{"))
	r.Must(err)
	l := letter(7, record.ClassData)
	r.Must(r.store.Put(r.Ctx, unit, l, l.ID, upTo(7)))
	if got := r.find(l.ID); got.Sequence != 2 {
		t.Errorf("stored is %+v", got)
	}
}

// The broker's duplicate window is short, so SameID must know the ids too.
func TestSameIDKnowsItsOriginal(t *testing.T) {
	t.Parallel()
	same := deadletter.SameID("STATUSES-7")
	if !same(deadletter.Entry{DeadLetter: letter(7, record.ClassData)}) || same(deadletter.Entry{DeadLetter: letter(70, record.ClassData)}) {
		t.Error("a dead letter is taken for another's")
	}
}
