package operator

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// plant stores anything on a subject and returns its sequence.
func (r *rig) plant(on, body string) uint64 {
	r.T.Helper()
	ack, err := r.JS.Publish(r.Ctx, on, []byte(body))
	r.Must(err)
	return ack.Sequence
}

// Every command that reads a payment must show what it cannot read, and go on.
func TestMessagesThatDoNotDecodeAreShownAndStopNoCommand(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	t.Cleanup(r.Stop) // Its own check at the end wants events only.
	unit := r.Unit("p-1")
	event := unit.Event("o-p-1", order.Paid)
	first := r.plant(event, "{")
	r.bank.say("p-1", "paid")
	r.notify("p-1")
	r.moved("p-1", order.Paid)
	r.Until("the event is readable", func() bool { return r.count(subject.Orders) > first })
	last := r.plant(event, `{"from":"tomorrow"}`)
	planted := map[string]uint64{event: first, unit.Notification(): r.plant(unit.Notification(), "{"), unit.Status(): r.plant(unit.Status(), "{")}
	r.Until("each has its letter", func() bool { return len(r.list()) == 4 })
	r.bank.say("p-1", "refunded")
	if out := r.run(ExitDone, "replay", "--payment", "p-1"); !strings.Contains(out, "sandbox/default/p-1: paid -> refunded, order o-p-1\n") {
		t.Errorf("replay says:\n%s", out)
	}
	for _, id := range []string{"p-1", "o-p-1"} {
		text := r.run(ExitDone, "order", "show", id)
		planted[event] = first
		for on, sequence := range planted {
			if want := fmt.Sprintf("does not decode: sequence %d on %s\n", sequence, on); !strings.Contains(text, want) {
				t.Errorf("order show %s lacks %q:\n%s", id, want, text)
			}
		}
		if want := fmt.Sprintf("does not decode: sequence %d on %s\n", last, event); !strings.Contains(text, want) || !strings.Contains(text, "paid -> refunded, transition 2 of order o-p-1") {
			t.Errorf("order show %s lacks %q:\n%s", id, want, text)
		}
	}
	var line []Entry
	r.Must(json.Unmarshal([]byte(r.run(ExitDone, "order", "show", "p-1", "--output", "json")), &line))
	unreadable := 0
	for _, e := range line {
		if e.Unreadable && e.Subject != "" && e.Sequence > 0 {
			unreadable++
		}
	}
	if unreadable != 4 {
		t.Errorf("%d entries are unreadable, want 4: %+v", unreadable, line)
	}
	r.run(ExitDone, "replay", "--since", "1h", "--dry-run")
}

func TestOrderWhoseOnlyEventDoesNotDecodeIsFound(t *testing.T) {
	t.Parallel()
	r := idle(t)
	t.Cleanup(r.Stop) // As above.
	on := r.Unit("p 1").Event("o-1", order.Paid)
	r.plant(r.Unit("p 1").OfOrder("o-1"), "")
	r.plant(on, "{")
	if out := r.run(ExitDone, "order", "show", "o-1"); !strings.Contains(out, "sandbox/default/p 1  event  does not decode: sequence 1 on "+on) {
		t.Errorf("output:\n%s", out)
	}
}

// hostile is what a stranger would like an operator's terminal to obey.
const hostile = "x\x1b[2J\tNOTIFICATIONS-1\n\u202e\u009b31m  "

// hostileLetters are bodies of dead letters that are none, or hold what a
// terminal obeys.
func hostileLetters(t *testing.T) map[string]string {
	t.Helper()
	encode := func(l record.DeadLetter) string {
		body, err := json.Marshal(l)
		testbench.Must(t, err)
		return string(body)
	}
	whole := record.DeadLetter{
		ID: "NOTIFICATIONS-7", Class: record.ClassData, Stage: "lookup", Provider: "sandbox", Account: "default", Kind: order.Payment,
		Payment: hostile, Order: hostile, Cause: hostile, LastAnswer: hostile, Stream: hostile, Sequence: 7, ProviderStatus: hostile, Next: hostile,
	}
	all := map[string]string{"half": "{", "nothing of a letter": "{}", "null": "null", "in its texts": encode(whole)}
	for name, change := range map[string]func(*record.DeadLetter){
		"in its id":       func(l *record.DeadLetter) { l.ID = hostile },
		"without an id":   func(l *record.DeadLetter) { l.ID = "" },
		"with a blank":    func(l *record.DeadLetter) { l.ID = "NOTIFICATIONS 7" },
		"percent-encoded": func(l *record.DeadLetter) { l.ID = "NOTIFICATIONS%2D7" },
		"another stage":   func(l *record.DeadLetter) { l.Stage = hostile },
		"another class":   func(l *record.DeadLetter) { l.Class = hostile },
		"another unit":    func(l *record.DeadLetter) { l.Provider, l.Account = hostile, hostile },
	} {
		l := whole
		change(&l)
		all[name] = encode(l)
	}
	return all
}

func TestWhatIsListedIsOneLineAndCanBeDiscarded(t *testing.T) {
	t.Parallel()
	for name, body := range hostileLetters(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := idle(t)
			t.Cleanup(r.Stop) // Its own check at the end wants letters only.
			r.plant(r.Unit("p-1").DeadLetter("data", "lookup"), body)
			r.printable(r.run(ExitDone, "dead", "list", "--output", "json"))
			out := r.run(ExitDone, "dead", "list")
			r.printable(out)
			lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
			if len(lines) != 2 || !strings.Contains(lines[1], "data") || !strings.Contains(lines[1], "sandbox/default/") {
				t.Fatalf("it is listed as:\n%s", out)
			}
			id := strings.Fields(lines[1])[0]
			r.printable(r.run(ExitDone, "dead", "show", id))
			r.printable(r.run(ExitDone, "order", "show", "p-1"))
			r.printable(r.run(ExitDone, "order", "show", "p-1", "--output", "json"))
			r.printable(r.run(ExitDone, "dead", "discard", id))
			if out := r.run(ExitDone, "dead", "list"); out != "no dead letters\n" {
				t.Errorf("after it was discarded:\n%s", out)
			}
			if out := r.run(ExitDone, "dead", "list", "--state", "discarded"); !strings.Contains(out, id) {
				t.Errorf("discarded are:\n%s", out)
			}
		})
	}
}

// printable wants nothing that a terminal obeys, but for the end of a line.
func (r *rig) printable(out string) {
	r.T.Helper()
	if strings.ContainsFunc(out, func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }) {
		r.T.Errorf("output is %q", out)
	}
}

func TestCircuitsAreListedWithoutEscapes(t *testing.T) {
	t.Parallel()
	r := idle(t)
	body, err := json.Marshal(record.Circuit{Provider: "sandbox", Account: "default", State: record.CircuitOpen, Cause: hostile, By: hostile})
	r.Must(err)
	r.plant(subject.Circuit("sandbox", "default"), string(body))
	for _, format := range []string{"text", "json"} {
		r.printable(r.run(ExitDone, "circuit", "list", "--output", format))
		_, out, _ := arauto(t, "status", "--output", format, "--config", r.config)
		r.printable(out)
	}
}

// An id has up to hundreds of characters, and may hold what looks like columns.
func TestTablesStayTablesWhateverAnIDHolds(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.putDeadLetter("lookup", strings.Repeat("w", 200)+"  lookup  x", 7)
	r.putDeadLetter("lookup", "p-2", 8)
	for line := range strings.Lines(r.run(ExitDone, "dead", "list")) {
		if len([]rune(line)) > 180 || strings.Contains(line, "lookup  x") {
			t.Errorf("a line is %q", line)
		}
	}
}
