package acceptance

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/wait"
	"arauto/deploy/tools/local/supervise"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/schematest"
	"arauto/schemas/subject"
)

// outcomes follows OUTCOMES.
type outcomes struct {
	mu  sync.Mutex
	all map[string][]expectation.Outcome // By payment.
}

// judged collects every outcome, and holds each to the schema and to being the only one of
// its version and word.
func (s *stack) judged() *outcomes {
	s.t.Helper()
	o := &outcomes{all: map[string][]expectation.Outcome{}}
	consumer, err := s.js.OrderedConsumer(s.ctx, subject.Outcomes, jetstream.OrderedConsumerConfig{})
	testbench.Must(s.t, err)
	ids := map[string]bool{}
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		if err := schematest.Outcome(m.Data()); err != nil {
			s.t.Errorf("outcome on %s breaks the schema: %v", m.Subject(), err)
		}
		one, err := expectation.ReadOutcome(m.Data())
		if err != nil || ids[one.ID()] || m.Headers().Get("ce-id") != one.ID() {
			s.t.Errorf("outcome %s on %s: known %v, %v", m.Data(), m.Subject(), ids[one.ID()], err)
		}
		ids[one.ID()] = true
		o.mu.Lock()
		defer o.mu.Unlock()
		o.all[one.Payment] = append(o.all[one.Payment], one)
	})
	testbench.Must(s.t, err)
	s.t.Cleanup(func() { consuming.Stop(); <-consuming.Closed() })
	return o
}

// of are the words about a payment.
func (o *outcomes) of(payment string) (words []expectation.Word) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, one := range o.all[payment] {
		words = append(words, one.Outcome)
	}
	return words
}

// awaitAll waits until each payment has a word.
func (o *outcomes) awaitAll(s *stack, word expectation.Word, payments []string) {
	s.t.Helper()
	missing := ""
	if !testbench.Poll(s.ctx, func() bool {
		for _, p := range payments {
			if !slices.Contains(o.of(p), word) {
				missing = p
				return false
			}
		}
		return true
	}) {
		s.t.Fatalf("%s has the outcomes %v, not %s", missing, o.of(missing), word)
	}
}

// expect announces a payment of the sandbox as a service does that has NATS.
func (s *stack) expect(payment string, e expectation.Expectation) {
	s.t.Helper()
	body, err := json.Marshal(e)
	testbench.Must(s.t, err)
	_, err = s.js.Publish(s.ctx, "expect.sandbox.default."+payment, body)
	testbench.Must(s.t, err)
}

// each calls do for so many numbers, some at a time.
func each(n int, do func(i int)) {
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := worker; i < n; i += 8 {
				do(i)
			}
		})
	}
	group.Wait()
}

// dropped is what came of payments whose webhooks were all dropped.
type dropped struct {
	delays  []time.Duration // From the provider's change to the event, by the turned clock, ascending.
	lookups []int           // Of each payment.
	allowed []int           // What the cadence allows in the time that each took.
}

// cadence are the look-ups of an expected payment without an answer in its first minutes.
var cadence = []time.Duration{0, time.Minute, 5 * time.Minute, 9 * time.Minute, 13 * time.Minute, 17 * time.Minute}

// dropWebhooks expects so many payments, which the provider changes within a span by the
// turned clock and without a webhook.
func dropWebhooks(s *stack, n, scale int, span time.Duration) dropped {
	s.t.Helper()
	o := s.judged()
	name := func(i int) string { return fmt.Sprintf("x-%d", i) }
	began, changed, payments := make([]time.Time, n), make([]time.Time, n), make([]string, n)
	each(n, func(i int) {
		payments[i] = name(i)
		s.set("sandbox", name(i), map[string]any{"order": "o-" + name(i), "status": "pending"})
	})
	deadline := time.Now().Add(24 * time.Hour)
	each(n, func(i int) {
		began[i] = time.Now()
		s.expect(name(i), expectation.Expectation{Order: "o-" + name(i), Amount: &expectation.Amount{Currency: "BRL", Value: 10000}, Deadline: &deadline})
	})
	start, dice := time.Now(), rand.New(rand.NewPCG(3, 4))
	at := make([]time.Duration, n)
	for i := range at {
		at[i] = time.Duration(dice.Int64N(int64(span))) / time.Duration(scale)
	}
	turns := dice.Perm(n)
	slices.SortFunc(turns, func(a, b int) int { return int(at[a] - at[b]) })
	for _, i := range turns {
		if !wait.For(s.ctx, time.Until(start.Add(at[i]))) { // The provider changes its payments over time.
			s.t.Fatal("the test took too long")
		}
		s.set("sandbox", name(i), map[string]any{"status": "paid"})
		changed[i] = time.Now()
	}
	o.awaitAll(s, expectation.Met, payments)
	result, asked := dropped{}, s.lookups("sandbox")
	for i := range n {
		log := s.log("sandbox/default/" + name(i))
		last := log[len(log)-1]
		if last.Status != order.Paid {
			s.t.Errorf("%s ends as %s", name(i), last.Status)
		}
		result.delays = append(result.delays, last.ObservedAt.Sub(changed[i])*time.Duration(scale))
		took, allowed := last.ObservedAt.Sub(began[i])*time.Duration(scale), 0
		for _, look := range cadence {
			if look <= took {
				allowed++
			}
		}
		if took > cadence[len(cadence)-1] {
			allowed += int((took - cadence[len(cadence)-1]) / (4 * time.Minute))
		}
		result.lookups, result.allowed = append(result.lookups, asked[name(i)]), append(result.allowed, allowed)
	}
	slices.Sort(result.delays)
	return result
}

// startExpecting is a stack on a turned clock whose rate limit leaves room for its look-ups.
func startExpecting(t testing.TB, scale int) *stack {
	t.Helper()
	return startWith(t, func(o *supervise.Options) {
		o.Env = append(os.Environ(), fmt.Sprintf("TIME_SCALE=%d", scale), "LOOKUP_RATE=5000", "LOOKUP_BURST=10000", "LOOKUP_ACCOUNT_CONCURRENCY=64")
	})
}

// Every webhook is dropped, and each payment has its event all the same, with no more
// look-ups than the cadence allows. BenchmarkExpectedPayments has the times.
func TestExpectedPaymentsHaveTheirEventsWithoutWebhooks(t *testing.T) {
	t.Parallel()
	const scale = 60
	s := startExpecting(t, scale)
	d := dropWebhooks(s, 150, scale, 10*time.Minute)
	for i, n := range d.lookups {
		if n > d.allowed[i]+1 { // One may be under way when the provider changes the payment.
			t.Errorf("payment %d was looked up %d times, the cadence allows %d", i, n, d.allowed[i])
		}
	}
}

// planted is a fault that was planted and the outcome that finds it.
type planted struct {
	payment string
	word    expectation.Word
}

// plantFaults expects so many payments, of which every 20th has a fault, and returns how
// many faults were planted and found, and what was found without a fault.
func plantFaults(s *stack, n int) (total, found int, wrong []string) {
	s.t.Helper()
	o := s.judged()
	far, near := time.Now().Add(24*time.Hour), time.Now().Add(15*time.Second)
	brl := func(value int64) *expectation.Amount { return &expectation.Amount{Currency: "BRL", Value: value} }
	faults, good := make([]planted, n), make([]string, n)
	each(n, func(i int) {
		p := fmt.Sprintf("f-%d", i)
		e := expectation.Expectation{Order: "o-" + p, Amount: brl(10000), Deadline: &far}
		state := map[string]any{"order": "o-" + p, "status": "paid", "amount": 10000, "notify": true}
		if i%20 != 0 {
			good[i] = p
			if i%2 == 0 {
				e.Deadline = nil
			}
		} else {
			faults[i] = planted{payment: p, word: [...]expectation.Word{
				expectation.NeverPaid, expectation.PaidTwice, expectation.AmountMismatch, expectation.AmountMismatch, expectation.PaidLate,
			}[i/20%5]}
			switch i / 20 % 5 {
			case 0: // Missing: unknown to the provider, or pending.
				state, e.Deadline = map[string]any{"order": "o-" + p, "status": "pending"}, &near
				if i%200 == 0 {
					state = nil
				}
			case 1: // Double: a second payment of the order, which is not expected.
				second := map[string]any{"order": "o-" + p, "status": "paid", "amount": 10000, "notify": true}
				s.set("sandbox", p+"-second", second)
			case 2: // Less, or more.
				state["amount"] = 9999 + 2*(i/100%2)
			case 3: // Another currency.
				e.Amount = &expectation.Amount{Currency: "USD", Value: 10000}
			case 4: // After the deadline.
				state, e.Deadline = map[string]any{"order": "o-" + p, "status": "pending"}, &near
			}
		}
		if i%3 == 0 { // Before its webhook, or after it.
			s.expect(p, e)
		}
		if state != nil {
			s.set("sandbox", p, state)
		}
		if i%3 != 0 {
			s.expect(p, e)
		}
	})
	var late, all []string
	for _, f := range faults {
		if f.word == expectation.PaidLate {
			late = append(late, f.payment)
		}
	}
	o.awaitAll(s, expectation.NeverPaid, late)
	each(len(late), func(i int) {
		s.set("sandbox", late[i], map[string]any{"status": "paid", "notify": true})
	})
	for i, f := range faults {
		if f.payment != "" {
			total++
			o.awaitAll(s, f.word, []string{f.payment})
		} else {
			all = append(all, good[i])
		}
	}
	o.awaitAll(s, expectation.Met, all)
	for i, f := range faults {
		words := o.of(f.payment)
		if f.payment == "" {
			if words = o.of(good[i]); !slices.Equal(words, []expectation.Word{expectation.Met}) {
				wrong = append(wrong, fmt.Sprintf("%s: %v", good[i], words))
			}
			continue
		}
		if slices.Contains(words, f.word) {
			found++
		}
		for _, w := range words {
			expected := w == f.word || f.word == expectation.PaidLate && w == expectation.NeverPaid || f.word == expectation.PaidTwice && w == expectation.Met
			if !expected {
				wrong = append(wrong, fmt.Sprintf("%s, planted %s: %v", f.payment, f.word, words))
			}
		}
	}
	return total, found, wrong
}

func TestPlantedFaultsAreFoundAndNothingElse(t *testing.T) {
	t.Parallel()
	s := startExpecting(t, 1)
	total, found, wrong := plantFaults(s, 400)
	if total != 20 || found != total || len(wrong) > 0 {
		t.Errorf("%d faults of %d found, and %d false: %v", found, total, len(wrong), wrong)
	}
}

// The roles are killed again and again while expectations are judged: each has its outcomes,
// each of them once, and nothing is left open.
func TestKilledRolesJudgeEachExpectationOnce(t *testing.T) {
	t.Parallel()
	s := startExpecting(t, 600)
	o := s.judged()
	const payments = 120
	all := make([]string, payments)
	const most = 16
	var killing sync.WaitGroup
	kills := 0
	killing.Go(func() {
		dice, ticker := rand.New(rand.NewPCG(5, 6)), time.NewTicker(150*time.Millisecond)
		defer ticker.Stop()
		for kills < most && s.ctx.Err() == nil { // It ends, because the supervisor starts a role that dies at once ever more slowly.
			<-ticker.C
			role := []string{"expect", "expect", "lookup", "normalize"}[dice.IntN(4)]
			if pid := s.child(role); pid != 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
				kills++
			}
		}
	})
	deadline := time.Now().Add(24 * time.Hour)
	for i := range payments {
		p := fmt.Sprintf("k-%d", i)
		all[i] = p
		amount := int64(10000)
		if i%3 == 0 {
			amount = 9000
		}
		s.set("sandbox", p, map[string]any{"order": "o-" + p, "status": "paid", "amount": 10000})
		s.expect(p, expectation.Expectation{Order: "o-" + p, Amount: &expectation.Amount{Currency: "BRL", Value: amount}, Deadline: &deadline})
	}
	killing.Wait()
	o.awaitAll(s, expectation.Unannounced, all)
	expected, err := s.js.Stream(s.ctx, subject.Expectations)
	testbench.Must(t, err)
	testbench.Until(t, "no expectation is open", func() bool {
		info, err := expected.Info(s.ctx)
		return err == nil && info.State.Msgs == 0
	})
	for i, p := range all {
		want := []expectation.Word{expectation.Met, expectation.Unannounced}
		if i%3 == 0 {
			want[0] = expectation.AmountMismatch
		}
		if words := o.of(p); !slices.Equal(words, want) {
			t.Errorf("%s has the outcomes %v, want %v", p, words, want)
		}
	}
	if kills < most {
		t.Errorf("only %d kills hit a role, so this shows little", kills)
	}
}

// The operator's command announces, repeats, replaces and withdraws, and its entries are on
// AUDIT.
func TestOperatorAnnouncesAndWithdraws(t *testing.T) {
	t.Parallel()
	s := startExpecting(t, 1)
	o := s.judged()
	for _, c := range [][2]string{
		{"expect sandbox default op-1 --order o-1 --amount 10000 --currency BRL", "accepted"},
		{"expect sandbox default op-1 --order o-1 --amount 10000 --currency BRL", "unchanged"},
		{"expect sandbox default op-1 --order o-1 --deadline 2099-01-01T00:00:00Z", "replaced"},
		{"expect sandbox default op-1 --withdraw", "withdrawn"},
	} {
		if out := s.arauto(strings.Fields(c[0])...); out != "sandbox/default/op-1: "+c[1]+"\n" {
			t.Errorf("arauto %s says %q", c[0], out)
		}
	}
	o.awaitAll(s, expectation.Withdrawn, []string{"op-1"})
	audit, err := s.js.Stream(s.ctx, subject.Audit)
	testbench.Must(t, err)
	info, err := audit.Info(s.ctx, jetstream.WithSubjectFilter("audit.>"))
	testbench.Must(t, err)
	if got := info.State.Subjects; got["audit.expect"] != 3 || got["audit.withdraw"] != 1 {
		t.Errorf("AUDIT has %v", got)
	}
	if status, answer := s.call(http.MethodGet, "http://"+s.at.Admin+"/metrics", "", nil, ""); status != http.StatusOK || !strings.Contains(answer, "arauto_expectations_open") {
		t.Errorf("metrics of the role: %d", status)
	}
}
