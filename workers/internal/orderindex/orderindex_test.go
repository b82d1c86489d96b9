package orderindex_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/internal/orderindex"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// rig is a broker and units of it.
type rig struct{ *testbench.Broker }

func setup(t *testing.T) rig {
	t.Helper()
	return rig{testbench.Start(t, "sandbox")}
}

// add puts a payment into the index.
func (r rig) add(of, payment string) {
	r.T.Helper()
	r.Must(orderindex.Add(r.Ctx, commit.Direct{JS: r.JS}, r.Unit(payment), r.Tokens.Token(of)))
}

// event stores an event of a payment as a process does that writes no index.
func (r rig) event(of, payment string) {
	r.T.Helper()
	e := order.Event{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: of, Status: order.Paid, Transition: 1,
		ProviderStatus: "paid", ObservedAt: time.Now(), Observation: 1,
	}
	body, err := json.Marshal(e)
	r.Must(err)
	m := &nats.Msg{Subject: r.Unit(payment).Event(r.Tokens.Token(of), order.Paid), Data: body, Header: nats.Header{}}
	for name, value := range e.CloudEvent("", of) {
		m.Header.Set(name, value)
	}
	_, err = r.JS.PublishMsg(r.Ctx, m)
	r.Must(err)
}

// want compares the payments of an order.
func (r rig) want(of string, payments ...string) {
	r.T.Helper()
	index, err := orderindex.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	units, err := index.PaymentsOf(r.Ctx, of)
	r.Must(err)
	wanted := []subject.Unit{}
	for _, p := range payments {
		wanted = append(wanted, r.Unit(p))
	}
	if fmt.Sprint(units) != fmt.Sprint(wanted) {
		r.T.Errorf("order %s has %v, want %v", of, units, wanted)
	}
}

func TestPaymentsOfAnOrder(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.want("o")
	r.add("o", "b")
	r.event("o", "b")
	r.add("o", "a")
	r.event("o", "a")
	r.add("o", "a") // Added again, it is there once.
	r.add("another", "c")
	r.event("another", "c")
	r.want("o", "a", "b")
	r.want("another", "c")
	r.want("none")
	r.add("maria@example.com", "a payment.of 1")
	r.want("maria@example.com", "a payment.of 1")
	if got := r.Stream(subject.OrderPayments).CachedInfo().State.Msgs; got != 4 {
		t.Errorf("the index has %d messages, want 4", got)
	}
}

// A normalize worker may end between an entry and the event.
func TestPaymentWithoutAnEventIsListed(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.add("o", "p")
	r.want("o", "p")
}

// ORDERS is older than the index after an upgrade: then one payment of an order may be in the
// index, and another one not.
func TestIndexThatIsYoungerThanORDERSIsNotWhole(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.event("o", "before")
	r.Recreate(subject.OrderPayments)
	r.add("o", "after")
	r.event("o", "after")
	r.want("o", "after", "before")
	// So it is with a process of the version before that still runs.
	r.Must(r.Stream(subject.Orders).Purge(r.Ctx))
	r.event("o", "meanwhile")
	r.want("o", "after", "meanwhile")
}

// An index that holds all is asked alone, because a search of ORDERS takes long.
func TestIndexThatIsWholeSuffices(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.add("o", "p")
	r.event("o", "p")
	r.event("o", "hidden") // No process writes an event so: it shows who was asked.
	r.want("o", "p")
}

func TestRemoveLeavesAnEntryThatWasWrittenSince(t *testing.T) {
	t.Parallel()
	r := setup(t)
	stream := r.Stream(subject.OrderPayments)
	read := func() orderindex.Entry {
		t.Helper()
		entry, err := orderindex.Read(r.Ctx, stream, "o", r.Unit("p"))
		r.Must(err)
		return entry
	}
	r.Must(orderindex.Remove(r.Ctx, stream, read())) // There is none.
	r.add("o", "p")
	before := read()
	r.add("o", "p")
	r.Must(orderindex.Remove(r.Ctx, stream, before))
	r.want("o", "p")
	r.Must(orderindex.Remove(r.Ctx, stream, read()))
	r.want("o")
	r.Must(orderindex.Remove(r.Ctx, stream, before))
}
