package operator

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
)

func TestOrderShowListsEverythingInTheOrderOfTime(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.bank.say("p-1", "paid")
	r.notify("p-1")
	r.moved("p-1", order.Paid)
	r.bank.say("p-1", "no word of ours")
	r.run(ExitPartly, "replay", "--payment", "p-1")
	r.Until("the letter is there", func() bool { return r.last(subject.DeadLetters, "dead.>") != nil })
	r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Cause: order.CauseSweep, Reason: "sweep",
		Attempts: 3, DueAt: time.Now().Add(time.Hour).UTC(),
	}))
	byOrder := r.run(ExitDone, "order", "show", "o-p-1", "--output", "json")
	if byPayment := r.run(ExitDone, "order", "show", "p-1", "--output", "json"); byPayment != byOrder {
		t.Errorf("by order:\n%s\nby payment:\n%s", byOrder, byPayment)
	}
	var line []Entry
	r.Must(json.Unmarshal([]byte(byOrder), &line))
	var what []string
	for i, e := range line {
		what = append(what, e.What)
		if i > 0 && e.At.Before(line[i-1].At) {
			t.Errorf("entry %d is older than the one before", i)
		}
	}
	if got, want := strings.Join(what, ", "), "notification, look-up, event, look-up, dead letter, parked"; got != want {
		t.Errorf("timeline is %s, want %s", got, want)
	}
	golden(t, "order.json", byOrder)
	if text := r.run(ExitDone, "order", "show", "p-1"); strings.Count(text, "\n") != len(line) || !strings.Contains(text, "? -> paid, transition 1 of order o-p-1") {
		t.Errorf("text is:\n%s", text)
	}
	if code, _, problems := arauto(t, "order", "show", "nobody-knows", "--config", r.config); code != ExitFailed || strings.Contains(problems, "nobody-knows") {
		t.Errorf("an unknown id: code %d, problems %q", code, problems)
	}
}

func TestPersonalIDsAreShownAsHashes(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	r.bank.say("ana@example.com", "paid")
	r.notify("ana@example.com")
	r.moved("ana@example.com", order.Paid)
	out := r.run(ExitDone, "order", "show", "ana@example.com", "--output", "json") +
		r.run(ExitDone, "replay", "--payment", "ana@example.com") + r.run(ExitDone, "order", "show", "ana@example.com")
	body, err := json.Marshal(r.audits())
	r.Must(err)
	if strings.Contains(out+string(body), "ana@") || !strings.Contains(out, "~"+r.Tokens.Hash("ana@example.com")) {
		t.Errorf("output:\n%s\naudit:\n%s", out, body)
	}
}

func TestWrongFlagsAreRefusedBeforeTheBrokerIsAsked(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"replay", "replay --order a --since 1h", "replay --since 1h --rate 0", "replay --class bogus", "replay --since 1h --provider nobody",
		"dead list --class bogus", "dead list --state bogus", "dead list --limit -1", "dead redrive", "dead discard --all --class data",
		"order show", "order", "retry now a b", "circuit open --provider sandbox", "dead list --account a.b", "status x",
	} {
		if code, out, problems := arauto(t, append(strings.Fields(line), "--config", "/nowhere")...); code != ExitRefused || out != "" || strings.Contains(problems, "/nowhere") {
			t.Errorf("%s: code %d, output %q, problems %q", line, code, out, problems)
		}
	}
}

func TestEveryCommandHasHelpAndCompletion(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"--help", "dead redrive --help", "replay --help", "completion bash"} {
		if code, out, problems := arauto(t, strings.Fields(line)...); code != ExitDone || len(out) < 100 {
			t.Errorf("%s: code %d, output %q, problems %q", line, code, out, problems)
		}
	}
}

func TestHelpSaysWhatTheCommandIsAbout(t *testing.T) {
	t.Parallel()
	for line, says := range map[string]string{
		"dead show":               "arauto dead show takes one dead letter, by its id\n",
		"order show a b":          "arauto order show takes one order or payment\n",
		"retry now":               "arauto retry now takes one order or payment\n",
		"dead list --class bogus": "--class is not one of ours, provider, data, subscriber\n",
		"order show x":            "cannot read the configuration: no such file or directory; name an existing file with --config\n",
	} {
		if _, _, problems := arauto(t, append(strings.Fields(line), "--config", "nowhere.yaml")...); !strings.HasSuffix(problems, says) {
			t.Errorf("%s says %q, want %q", line, problems, says)
		}
	}
	for line, says := range map[string]string{
		"dead discard":   "at most so many letters a second",
		"dead redrive":   "at most so many look-ups a second",
		"replay":         "at most so many look-ups a second",
		"dead list":      "only this class: ours, provider, data or subscriber\n",
		"topology apply": "--shrink",
		"":               "but for\ntopology apply.",
	} {
		_, out, _ := arauto(t, append(strings.Fields(line), "--help")...)
		if !strings.Contains(out, says) || strings.Contains(out, "Nothing is ever deleted") {
			t.Errorf("%s --help lacks %q:\n%s", line, says, out)
		}
	}
}
