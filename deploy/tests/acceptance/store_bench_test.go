package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/local/supervise"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// stored is what BenchmarkWebhooksInAFullStore stores. The sizes of issue 15 are
// SCALE_MIB=2048 SCALE_PAYMENTS=1000000 SCALE_LETTERS=200000 SCALE_LOOKUPS=100000, with
// SCALE_SECONDS=75 for a whole minute of sweep.
var stored = struct{ mib, payments, letters, lookUps, seconds int }{
	size("SCALE_MIB", 32), size("SCALE_PAYMENTS", 2_000), size("SCALE_LETTERS", 500), size("SCALE_LOOKUPS", 500), size("SCALE_SECONDS", 15),
}

// size is the value of an environment variable, or a default.
func size(name string, otherwise int) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return otherwise
	}
	return n
}

// storedIn is how long storing all that may take. A guess: five milliseconds for each thing.
func storedIn() time.Duration {
	return 5 * time.Millisecond * time.Duration(stored.payments+stored.letters+stored.lookUps+1024*stored.mib/16)
}

// BenchmarkWebhooksInAFullStore compares the real webhooks of two accounts in an empty store
// with those in a full one: how long they wait for their 200, and from that for their event.
// The full store has finished notifications, payments, dead letters, and look-ups that wait for
// an open circuit and become due and are deferred all the time. It prints the ratios, how often
// a webhook was answered otherwise than 200, and how long `arauto order show` takes.
func BenchmarkWebhooksInAFullStore(b *testing.B) {
	for b.Loop() {
		s := startWith(b, func(*supervise.Options) {})
		s.stageInMemory()
		measure := func(name string) *phase {
			stop := s.trickle(name)
			s.rest(time.Duration(stored.seconds) * time.Second)
			p := stop()
			s.settle(p)
			return p
		}
		empty := measure("empty")
		began := time.Now()
		of := s.fillStore()
		b.Logf("%d MiB of notifications, %d payments, %d dead letters and %d look-ups were stored in %v",
			stored.mib, stored.payments, stored.letters, stored.lookUps, time.Since(began).Round(time.Millisecond))
		s.await("every event to be followed", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.events) >= stored.payments
		})
		full := measure("full")
		report(b, empty, full)
		began = time.Now()
		out, err := exec.CommandContext(s.ctx, filepath.Join(bin, "arauto"), "order", "show", of, "--config", filepath.Join(s.dir, "arauto.yaml")).CombinedOutput()
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "order-show-ms")
		if err != nil {
			b.Errorf("order show: %v\n%s", err, out)
		}
	}
}

// fillStore stores what stored says, with one circuit open, and returns an order of it.
func (s *stack) fillStore() (of string) {
	s.t.Helper()
	tokens, err := subject.Keyed("arauto-local-hash-key-never-elsewhere")
	testbench.Must(s.t, err)
	if out, err := exec.CommandContext(s.ctx, filepath.Join(bin, "arauto"), "circuit", "open", "--provider", "sandbox", "--account", "default",
		"--by", "benchmark", "--config", filepath.Join(s.dir, "arauto.yaml")).CombinedOutput(); err != nil {
		s.t.Fatalf("open the circuit: %v\n%s", err, out)
	}
	publish := func(count int, message func(i int) *nats.Msg) {
		s.t.Helper()
		for i := range count {
			_, err := s.js.PublishMsgAsync(message(i), jetstream.WithStallWait(time.Minute))
			testbench.Must(s.t, err)
			if i%1000 == 999 {
				<-s.js.PublishAsyncComplete()
			}
		}
		<-s.js.PublishAsyncComplete()
	}
	document := func(on string, body any) *nats.Msg {
		m := nats.NewMsg(on)
		m.Data, err = json.Marshal(body)
		testbench.Must(s.t, err)
		return m
	}
	const each = 16 << 10 // Of a provider without a consumer: they count as finished.
	publish(stored.mib<<20/each, func(i int) *nats.Msg {
		m := nats.NewMsg(fmt.Sprintf("notifications.filler.default.p-%d", i))
		m.Data = make([]byte, each)
		return m
	})
	publish(2*stored.payments, func(i int) *nats.Msg {
		payment, name := fmt.Sprintf("stored-%d", i/2), fmt.Sprintf("order-%d", i/2)
		unit := tokens.Unit("sandbox", "default", payment)
		if of = name; i%2 == 0 {
			return nats.NewMsg(unit.OfOrder(name))
		}
		e := order.Event{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: name, Transition: 1,
			Status: order.Paid, Confirmed: true, ProviderStatus: "paid", ObservedAt: time.Now().UTC(), Observation: 1,
		}
		m := document(unit.Event(name, e.Status), e)
		for header, value := range e.CloudEvent("", name) {
			m.Header.Set(header, value)
		}
		return m
	})
	publish(stored.letters, func(i int) *nats.Msg {
		payment := fmt.Sprintf("dead-%d", i)
		return document(tokens.Unit("sandbox", "default", payment).DeadLetter(string(record.ClassData), record.StageLookup), record.DeadLetter{
			ID: uuid.NewString(), Class: record.ClassData, Stage: record.StageLookup, Provider: "sandbox", Account: "default", Kind: order.Payment,
			Payment: payment, Cause: "a benchmark", Attempts: 1, LastAnswer: string(record.NotFound), Stream: subject.Notifications,
			Sequence: uint64(i) + 1, Next: "nothing", At: time.Now().UTC(), //nolint:gosec // An index.
		})
	})
	began := time.Now()
	publish(stored.lookUps, func(i int) *nats.Msg {
		due := began.Add(time.Duration(i%300) * time.Second).UTC() // As they are spread behind an open circuit.
		p := record.ScheduledLookUp{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: fmt.Sprintf("waits-%d", i),
			Cause: order.CauseSweep, Reason: string(record.Stopped), DueAt: due,
		}
		place := tokens.Waiting(p.Provider, p.Account, p.Payment)
		m := document(place.Parked(), p)
		m.Header.Set("Nats-Schedule", "@at "+due.Format(time.RFC3339Nano))
		m.Header.Set("Nats-Schedule-Target", place.Due())
		return m
	})
	return of
}
