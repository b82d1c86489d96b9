package operator

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
)

// cut runs a command and cancels it, as an interrupt does, once something is
// so. It returns what was printed.
func (r *rig) cut(want int, what string, so func() bool, args ...string) string {
	r.T.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Ctx)) // A deadline would end the pace's waiting early.
	defer cancel()
	var out, problems bytes.Buffer
	code := make(chan int, 1)
	go func() { code <- Run(ctx, append(args, "--config", r.config), os.LookupEnv, &out, &problems) }()
	r.Until(what, so)
	cancel()
	if got := <-code; got != want || problems.Len() > 0 {
		r.T.Fatalf("arauto %q: code %d, want %d; output:\n%s\nproblems:\n%s", args, got, want, out.String(), problems.String())
	}
	return out.String()
}

// tooSlow is a pace at which the test's deadline comes before the second step,
// which the pace says at once.
const tooSlow = "0.001"

func TestLettersThatWereSettledBeforeItWasCutShortAreTold(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"redrive", "discard"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			r := idle(t)
			r.putDeadLetter("lookup", "p-1", 7)
			r.putDeadLetter("normalize", "p-2", 8)
			lines := strings.Split(r.run(ExitPartly, "dead", verb, "--all", "--rate", tooSlow), "\n")
			if len(lines) != 4 || !strings.HasPrefix(lines[0], "NOTIFICATIONS-7 sandbox/default/p-1: "+verb[:7]) ||
				!strings.HasPrefix(lines[1], "NOTIFICATIONS-8 sandbox/default/p-2: open, not reached: ") || lines[2] != "1 of 2 letters "+map[string]string{"redrive": "redriven", "discard": "discarded"}[verb] {
				t.Errorf("output is %q", lines)
			}
		})
	}
}

func TestPaymentsThatWereAskedAboutBeforeItWasCutShortAreTold(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.notify("p-1")
	r.notify("p-2")
	lines := strings.Split(r.run(ExitPartly, "replay", "--since", "1h", "--rate", tooSlow, "--wait", "50ms"), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "sandbox/default/p-2: not asked, as far as is known: ") ||
		lines[1] != "sandbox/default/p-1: no answer within 50ms; the look-up goes on" || lines[2] != "0 transitions" {
		t.Errorf("output is %q", lines)
	}
}

func TestDryRunThatIsCutShortTellsWhatItHasSeen(t *testing.T) {
	t.Parallel()
	r := idle(t)
	for _, payment := range []string{"p-1", "p-2"} {
		r.bank.say(payment, "paid")
		r.notify(payment)
	}
	lines := strings.Split(r.run(ExitPartly, "replay", "--since", "1h", "--dry-run", "--rate", tooSlow), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "sandbox/default/p-2: not asked, as far as is known: ") ||
		lines[1] != "sandbox/default/p-1: ? -> paid, order o-p-1" || lines[2] != "1 transitions" {
		t.Errorf("output is %q", lines)
	}
}

// An interrupt ends the context of everything that is under way.
func TestTransitionsThatWereMadeBeforeAnInterruptAreTold(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	defer r.bank.release()
	for _, payment := range []string{"p-1", "p-2"} {
		r.bank.say(payment, "paid")
		r.notify(payment)
		r.moved(payment, order.Paid)
	}
	r.bank.say("p-1", "refunded")
	r.bank.say("p-2", holdsUs)
	out := r.cut(ExitPartly, "the first has moved", func() bool {
		raw := r.last(subject.Orders, r.Unit("p-1").Events())
		return raw != nil && strings.HasSuffix(raw.Subject, ".refunded") && r.bank.holding()
	}, "replay", "--since", "1h", "--rate", "100", "--wait", "1h")
	if !strings.Contains(out, "sandbox/default/p-2: its answer was not waited for: ") ||
		!strings.HasSuffix(out, "sandbox/default/p-1: paid -> refunded, order o-p-1\n1 transitions\n") {
		t.Errorf("output:\n%s", out)
	}
}

func TestRetriesThatWereMadeDueBeforeAFailureAreTold(t *testing.T) {
	t.Parallel()
	r := idle(t)
	for _, account := range []string{"acme", "default"} {
		r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
			Provider: "sandbox", Account: account, Kind: order.Payment, Payment: "p-1", Cause: order.CauseSweep, Reason: "sweep",
			DueAt: time.Now().Add(time.Hour).UTC(),
		}))
	}
	stream, err := r.JS.Stream(r.Ctx, subject.Audit)
	r.Must(err)
	full := stream.CachedInfo().Config
	full.MaxMsgs, full.Discard = 1, jetstream.DiscardNew
	_, err = r.JS.UpdateStream(r.Ctx, full)
	r.Must(err)
	code, out, problems := arauto(t, "retry", "now", "p-1", "--config", r.config)
	if code != ExitFailed || out != "sandbox/acme/p-1: due now, after 0 attempts\n" || !strings.HasPrefix(problems, "retry sandbox/default/p-1: write audit entry: ") {
		t.Errorf("code %d, output %q, problems %q", code, out, problems)
	}
}
