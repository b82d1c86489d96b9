package fold_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// observeOrder stores an observation of a payment that names an order.
func (b bench) observeOrder(t *testing.T, payment, of string, status order.Status) *testbench.Delivered {
	t.Helper()
	body, err := json.Marshal(order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: of,
		Status: status, ProviderStatus: string(status), Confirmed: true, Cause: order.CauseNotification, AskedAt: time.Now(), AnsweredAt: time.Now(),
	})
	testbench.Must(t, err)
	return b.deliver(t, &nats.Msg{Subject: b.Unit(payment).Status(), Data: body})
}

// indexed lists the subjects of the index, and how often one was written.
func (b bench) indexed(t *testing.T) (subjects []string, writes uint64) {
	t.Helper()
	for _, raw := range b.Messages(subject.OrderPayments, ">") {
		subjects = append(subjects, strings.TrimPrefix(raw.Subject, "order-payments."))
	}
	return subjects, b.Stream(subject.OrderPayments).CachedInfo().State.LastSeq
}

func TestOrderIsIndexedOnceForEachPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := func(writes uint64, want ...string) {
		t.Helper()
		if got, times := b.indexed(t); strings.Join(got, " ") != strings.Join(want, " ") || times != writes {
			t.Fatalf("the index has %v after %d writes, want %v after %d", got, times, want, writes)
		}
	}
	w := b.worker(t, b.JS)
	for _, status := range []order.Status{order.Pending, order.Authorized, order.Paid} {
		b.Must(w.Handle(b.Ctx, b.observeOrder(t, "p", "o-1", status)))
		want(1, "o-1.sandbox.default.p")
	}
	other := b.worker(t, b.JS) // Without memory.
	b.Must(other.Handle(b.Ctx, b.observeOrder(t, "p", "o-1", order.Settled)))
	want(1, "o-1.sandbox.default.p")
	b.Must(other.Handle(b.Ctx, b.observeOrder(t, "p", "o-2", order.Refunded)))
	want(3, "o-1.sandbox.default.p", "o-2.sandbox.default.p")
}

// refusing is a JetStream that refuses what is published on some subjects.
type refusing struct {
	jetstream.JetStream
	prefix string
}

var errRefused = errors.New("refused by the test")

func (r refusing) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if strings.HasPrefix(m.Subject, r.prefix) {
		return nil, errRefused
	}
	return r.JetStream.PublishMsg(ctx, m, opts...)
}

// A process may end between the entry and the event, whichever is written first.
func TestFirstEventIsHandledOnceItsOrderIsIndexed(t *testing.T) {
	t.Parallel()
	for _, refused := range []string{"order-payments.", "orders."} {
		b := setup(t)
		m := b.observeOrder(t, "p", "o", order.Paid)
		if err := b.worker(t, refusing{b.JS, refused}).Handle(b.Ctx, m); !errors.Is(err, errRefused) {
			t.Fatalf("%s is refused: %v", refused, err)
		}
		m.Earlier = 1
		b.Must(b.worker(t, b.JS).Handle(b.Ctx, m))
		if got, _ := b.indexed(t); len(got) != 1 || len(b.log(t, "p")) != 1 {
			t.Errorf("%s was refused: the index has %v, the log %d events", refused, got, len(b.log(t, "p")))
		}
	}
}

// The broker notes deliveries every 100 ms. If it is killed before that, together with the
// process that has stored an event and not its entry, the message is delivered as if for the
// first time. It is not the payment's first observation, which would be folded without reading.
func TestOrderIsIndexedWhereTheBrokerForgotTheDelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Must(b.worker(t, b.JS).Handle(b.Ctx, b.observeOrder(t, "p", "o", ""))) // An unknown word, which makes no event.
	m := b.observeOrder(t, "p", "o", order.Paid)
	if err := b.worker(t, refusing{b.JS, "order-payments."}).Handle(b.Ctx, m); !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	b.Must(b.worker(t, b.JS).Handle(b.Ctx, m))
	if got, _ := b.indexed(t); len(got) != 1 || len(b.log(t, "p")) != 1 {
		t.Errorf("the index has %v, the log %d events", got, len(b.log(t, "p")))
	}
}

// Of two workers the first writes an event and ends before its entry. The second has folded
// the observation behind it, with another order.
func TestEventOfAnotherOrderIndexesTheOneBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.observeOrder(t, "p", "o-1", order.Pending)
	if err := b.worker(t, refusing{b.JS, "order-payments."}).Handle(b.Ctx, first); !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	b.Must(b.worker(t, b.JS).Handle(b.Ctx, b.observeOrder(t, "p", "o-2", order.Paid)))
	got, _ := b.indexed(t)
	if want := "o-1.sandbox.default.p o-2.sandbox.default.p"; strings.Join(got, " ") != want {
		t.Errorf("the index has %v, want %s", got, want)
	}
	second := b.observeOrder(t, "p", "o-3", order.Refunded)
	if err := b.worker(t, refusing{b.JS, "order-payments."}).Handle(b.Ctx, second); !errors.Is(err, errRefused) || len(b.log(t, "p")) != 2 {
		t.Errorf("an event of another order whose entry is refused: %v, %d events", err, len(b.log(t, "p")))
	}
}
