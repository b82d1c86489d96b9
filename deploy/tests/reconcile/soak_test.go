package reconcile_test

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/deploy/tests/reconcile"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

const (
	short   = 25 * time.Second // Of trouble, where FOR does not say.
	round   = time.Minute      // After so much trouble everything is counted.
	drivers = 32
	// longest is how long the backlog of a round may stay as large as it is. The
	// messages of a killed worker wait for the acknowledgement wait.
	longest = 3 * time.Minute
)

// TestEveryAcceptedNotificationEndsAsExactlyOneThing is the promise of the
// product, taken at its word: whatever dies, every 200 is an event, unchanged,
// late, superseded, parked with a due time, or a dead letter with a cause.
//
// FOR says how long (make soak FOR=30m), SEED repeats the choices of a run.
func TestEveryAcceptedNotificationEndsAsExactlyOneThing(t *testing.T) {
	t.Parallel()
	length, seed := fromEnvironment(t)
	t.Logf("SEED=%d", seed)
	rounds := int((length + round - 1) / round)
	p := build(t, 3*length+time.Duration(rounds)*(4*longest+time.Minute)) // A loaded machine drains more slowly than it is filled.
	p.observe()
	d := newDriver(p)
	dice := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
	troubles := make([]*trouble, 5)
	for i := range troubles {
		troubles[i] = &trouble{p: p, dice: dice(uint64(i)), done: map[string]int{}}
	}
	troubles[0].victims, troubles[4].victims = victims()
	for n := range rounds {
		upset(p, d, troubles, func(i int) *rand.Rand { return dice(uint64(1000*(n+1) + i)) }, n, min(length-time.Duration(n)*round, round))
		if !audit(t, p, d) {
			break
		}
	}
	t.Logf("what went wrong meanwhile:\n%s%s%s", report(troubles...), p.endings(), p.swept())
	if p.witness.together() == 0 {
		t.Error("no notification came in a batch, so this shows nothing of them")
	}
	t.Logf("%d of %d notifications came in a batch", p.witness.together(), p.witness.copied())
}

func fromEnvironment(t *testing.T) (time.Duration, uint64) {
	t.Helper()
	length, seed := short, uint64(time.Now().UnixNano()) //nolint:gosec // Any number will do.
	var err error
	if text := os.Getenv("FOR"); text != "" {
		if length, err = time.ParseDuration(text); err != nil || length <= 0 {
			t.Fatalf("FOR=%s is not a duration such as 30m", text)
		}
	}
	if text := os.Getenv("SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SEED=%s is not a whole number", text)
		}
	}
	return length, seed
}

// upset drives payments through one round of trouble. At its end the faults of
// the providers go first, then each payment is notified once more while
// processes still die, then everything is well.
func upset(p *plant, d *driver, troubles []*trouble, dice func(int) *rand.Rand, n int, length time.Duration) {
	driving, stopDriving := context.WithTimeout(p.ctx, length)
	defer stopDriving()
	breaking, stopBreaking := context.WithCancel(p.ctx)
	defer stopBreaking()
	var players, faults, others sync.WaitGroup
	for i := range drivers {
		players.Go(func() { d.play(driving, "r"+strconv.Itoa(n)+"d"+strconv.Itoa(i), dice(i)) })
	}
	faults.Go(func() { troubles[0].make(driving, troubles[0].fault) })
	faults.Go(func() {
		if n == 0 {
			troubles[4].done[troubles[4].outage(driving)]++
		}
		troubles[4].make(driving, troubles[4].fault)
	})
	others.Go(func() { troubles[1].make(breaking, troubles[1].killRole, troubles[1].disturb, troubles[1].disturb) })
	others.Go(func() { troubles[2].make(breaking, troubles[2].killBroker) })
	others.Go(func() { troubles[3].make(driving, troubles[3].fill) })
	players.Wait()
	faults.Wait()
	d.close()
	stopBreaking()
	others.Wait()
}

// audit waits until nothing is left to do, then reads the streams and closes
// the books. It reports whether they balance.
func audit(t *testing.T, p *plant, d *driver) bool {
	t.Helper()
	defer p.start("sweep")
	finish(t, p)
	s, err := reconcile.Read(p.ctx, p.js)
	testbench.Must(t, err)
	stored := len(s.Notifications)
	if !p.witness.upToDate(p.ctx) {
		t.Fatal("not every notification could be copied")
	}
	copies, lost := p.witness.evidence()
	s.Notifications = copies
	if len(lost) > 0 {
		t.Errorf("notifications were removed before they were copied: %v", lost)
	}
	t.Logf("of %d notifications sweep has removed %d", len(copies), len(copies)-stored)
	return closeBooks(t, s, d)
}

// finish waits until nothing is left to do. Sweep first gives dead letters to
// what the broker gave up and frees what should have fired, then rests: it would
// go on asking for payments that are not final. What it had just parked is
// drained without it.
func finish(t *testing.T, p *plant) {
	t.Helper()
	for again := true; again; {
		if left := swept(p); left != "" {
			t.Errorf("sweep does not finish: %s", left)
		}
		p.kill("sweep")
		if left := drain(p); left != "" {
			t.Errorf("the backlog does not drain once sweep rests:\n%s", left)
		}
		// A schedule that a killed broker brought back fires no more, and shows
		// only once it is overdue. To free it is sweep's work.
		if again = !t.Failed() && unswept(p) != ""; again {
			p.start("sweep")
		}
	}
}

// balance drives payments for at most length while upset makes trouble, until upset returns.
// Then it waits until nothing is left to do and closes the books.
func balance(t *testing.T, p *plant, length time.Duration, seed uint64, upset func(driving context.Context, m *trouble)) *trouble {
	t.Helper()
	dice := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
	d, m := newDriver(p), &trouble{p: p, dice: dice(0), done: map[string]int{}}
	driving, stop := context.WithTimeout(p.ctx, length)
	defer stop()
	var players sync.WaitGroup
	for i := range drivers {
		players.Go(func() { d.play(driving, "d"+strconv.Itoa(i), dice(uint64(1+i))) })
	}
	upset(driving, m)
	stop()
	players.Wait()
	d.close()
	finish(t, p)
	s, err := reconcile.Read(p.ctx, p.js)
	testbench.Must(t, err)
	closeBooks(t, s, d)
	t.Logf("what went wrong meanwhile:\n%s%s%s", report(m), p.endings(), p.swept())
	return m
}

// closeBooks reports whether the streams balance with what the driver knows.
func closeBooks(t *testing.T, s reconcile.Streams, d *driver) bool {
	t.Helper()
	s.Spans = order.Standard.Scaled(turned)
	books := reconcile.Audit(s, d.truths)
	var table strings.Builder
	if err := books.Print(&table); err != nil {
		t.Error(err)
	}
	t.Logf("the ledger of %d payments:\n%s", len(d.truths), table.String())
	for i, f := range books.Findings {
		if i == 5 {
			t.Errorf("and %d more findings", len(books.Findings)-i)
			break
		}
		t.Errorf("%s: %s\n\t%s", f.Payment, f.Text, strings.Join(f.Timeline, "\n\t"))
	}
	if len(s.Notifications) == 0 {
		t.Error("nothing was accepted, so this shows nothing")
	}
	d.verified()
	return !t.Failed()
}

// swept waits until sweep has read every advisory and no schedule should have
// fired some time ago. It returns what is left when its longest ends.
func swept(p *plant) string {
	began, left := time.Now(), ""
	for time.Since(began) < longest {
		if left = unswept(p); left == "" || !pause(p.ctx, time.Second) {
			return left
		}
	}
	return left
}

// unswept says what sweep still has to do, but for payments that are silent.
func unswept(p *plant) string {
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	consumer, err := p.js.Consumer(ctx, subject.Advisories, subject.AdvisoriesConsumer)
	if err != nil {
		return "its consumer cannot be read: " + err.Error()
	}
	if info := consumer.CachedInfo(); info.NumPending > 0 || info.NumAckPending > 0 {
		return "advisories are not handled"
	}
	waiting, err := reconcile.ReadParked(ctx, p.js)
	if err != nil {
		return err.Error()
	}
	for _, one := range waiting {
		if late := time.Since(one.Record.DueAt); late > 10*time.Second {
			return "schedule " + strconv.FormatUint(one.Sequence, 10) + " is overdue for " + late.String()
		}
	}
	return ""
}

// drain waits until no consumer has anything left and nothing is parked. It
// returns what is still there when it does not get less for longest; what is
// parked for later is a category and no complaint.
func drain(p *plant) (left string) {
	since, least := time.Now(), uint64(math.MaxUint64)
	p.poll(func() bool {
		var parked bool
		var messages uint64
		left, messages, parked = backlog(p)
		if messages < least {
			since, least = time.Now(), messages
		}
		return left == "" && !parked || time.Since(since) > longest
	})
	return left
}

// backlog says what consumers have not finished, how many messages that is, and
// whether a look-up is parked: before the consumers are read, because a schedule that fires
// meanwhile may be seen neither there nor as parked, and after it, because a message that is
// handled meanwhile may be parked.
func backlog(p *plant) (pending string, messages uint64, parked bool) {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	stream, err := p.js.Stream(ctx, subject.LookupRetries)
	if err != nil {
		return "stream cannot be read: " + err.Error(), math.MaxUint64, false
	}
	waits := func() bool {
		_, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject("lookup.parked.>"))
		return err == nil
	}
	before := waits()
	for _, c := range topology.Consumers(topology.Settings{Providers: providers.All.Names()}) {
		if c.Stream == subject.Advisories {
			continue // Sweep rests, and reads what still comes when it is back; see unswept.
		}
		consumer, err := p.js.Consumer(ctx, c.Stream, c.Durable)
		if err != nil {
			return "consumer " + c.Durable + " cannot be read: " + err.Error(), math.MaxUint64, false
		}
		if info := consumer.CachedInfo(); info.NumPending > 0 || info.NumAckPending > 0 {
			messages += info.NumPending + uint64(max(info.NumAckPending, 0))
			pending += c.Durable + ": " + strconv.FormatUint(info.NumPending, 10) + " pending, " + strconv.Itoa(info.NumAckPending) + " not acknowledged\n"
		}
	}
	return pending, messages, before || waits()
}
