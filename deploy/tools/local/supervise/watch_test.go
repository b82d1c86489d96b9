package supervise

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

func keyed(t *testing.T) *supervisor {
	t.Helper()
	tokens, err := subject.Keyed("a key for tests only, 32 bytes..")
	testbench.Must(t, err)
	return &supervisor{tokens: tokens}
}

func TestFailedLookUpIsOneShortLine(t *testing.T) {
	t.Parallel()
	s, due := keyed(t), time.Now().Add(time.Minute)
	at := due.Local().Format("15:04:05")
	for name, c := range map[string]struct {
		parked record.ScheduledLookUp
		want   string
	}{
		"unknown payment": {
			record.ScheduledLookUp{Provider: "picpay", Account: "default", Payment: "4711", Reason: "not_found", DueAt: due},
			"picpay does not know payment 4711; asked again at " + at,
		},
		"other account": {
			record.ScheduledLookUp{Provider: "yapay", Account: "acme", Payment: "a", Reason: "unavailable", DueAt: due},
			"yapay fails when asked about payment a of acme; asked again at " + at,
		},
		"another day": {
			record.ScheduledLookUp{Provider: "yapay", Account: "default", Payment: "a", Reason: "transport", DueAt: due.Add(72 * time.Hour)},
			"yapay gives no answer about payment a; asked again at " + due.Add(72*time.Hour).Local().Format("Jan 2 15:04"),
		},
		"recheck": {record.ScheduledLookUp{Provider: "picpay", Account: "default", Payment: "a", Reason: "recheck", DueAt: due}, ""},
		"slow":    {record.ScheduledLookUp{Provider: "picpay", Account: "default", Payment: "a", Reason: "rate_limit", DueAt: due}, ""},
	} {
		if got := s.scheduledLine("", c.parked); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	for _, cause := range record.Failures() {
		got := s.scheduledLine("", record.ScheduledLookUp{
			Provider: "picpay-checkout", Account: strings.Repeat("a", 32), Payment: strings.Repeat("p", 256), Reason: string(cause), DueAt: due,
		})
		held := cause == record.RateLimited || cause == record.Stopped
		if line := len([]rune(clockFormat + "  " + got)); (got == "") != held || line > 120 {
			t.Errorf("%s: %q has %d columns", cause, got, line)
		}
	}
	personal := record.ScheduledLookUp{Provider: "picpay", Account: "default", Payment: "buyer@example.com", Reason: "not_found", DueAt: due}
	if got := s.scheduledLine("", personal); strings.Contains(got, "buyer") || !strings.Contains(got, "payment ~") {
		t.Errorf("a personal id is shown: %q", got)
	}
}

func TestCircuitsLettersAndPausesAreLines(t *testing.T) {
	t.Parallel()
	circuit := func(c record.Circuit) string {
		c.Provider, c.Account = "picpay", "acme"
		return circuitLine("", c)
	}
	for _, c := range []struct{ got, want string }{
		{circuit(record.Circuit{State: record.CircuitOpen, Cause: "credential"}), "circuit of picpay/acme is open (credential): the account's look-ups wait"},
		{circuit(record.Circuit{State: record.CircuitOpen, Cause: "credential", Probes: 1}), ""},
		{circuitLine("", record.Circuit{Provider: "picpay", Account: record.HostScope("api.test:443"), State: record.CircuitOpen, Cause: "outage"}), "circuit of picpay/host:api.test:443 is open (outage): look-ups there wait"},
		{circuit(record.Circuit{State: record.CircuitHalfOpen}), ""},
		{circuit(record.Circuit{State: record.CircuitClosed, Cause: "answered"}), "circuit of picpay/acme is closed again (answered)"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	for want, pause := range map[string]server.JSConsumerPauseAdvisory{
		"picpay is asked again: its look-ups are not paused any more": {Consumer: "lookup-due-picpay"},
		"": {Consumer: "lookup-picpay", Paused: true},
	} {
		if got := pauseLine("", pause); got != want {
			t.Errorf("%+v gives %q, want %q", pause, got, want)
		}
	}
	if got := keyed(t).letterLine("", record.DeadLetter{ID: "NOTIFICATIONS-1", State: "resolved"}); got != "dead letter NOTIFICATIONS-1 is resolved" {
		t.Errorf("a resolved letter is %q", got)
	}
}

// TestScreenSaysWhatGoesWrong turns the clock, so that what nobody knows is given up
// in a moment.
func TestScreenSaysWhatGoesWrong(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	r := begin(ctx, t, func(o *Options) { o.Env = append(os.Environ(), "TIME_SCALE=20000") })
	send := func(method, url, header, value, body string) {
		t.Helper()
		q, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		testbench.Must(t, err)
		q.Header.Set(header, value)
		answer, err := patient.Do(q)
		testbench.Must(t, err)
		if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: status %d, %v", method, url, answer.StatusCode, err)
		}
	}
	send(http.MethodPost, "http://"+r.Gateway+"/v1/sandbox/notifications", "authorization", "sandbox-local-token", `{"payment": "nobody-knows", "order": "o"}`)
	r.out.line(ctx, t, "sandbox does not know payment nobody-knows; asked again at ")
	r.out.line(ctx, t, "dead letter ", " (data): sandbox/default payment nobody-knows: ")
	send(http.MethodPut, "http://"+r.Simulator+"/_sim/sandbox/fault", "x", "y", `{"kind": "401", "account": "acme"}`)
	acme := life{provider: "sandbox", account: "acme", unit: "payments"}
	testbench.Must(t, move(ctx, r.Simulator, acme, "p-1", provider.Step{Word: "paid"}))
	r.out.line(ctx, t, "circuit of sandbox/acme is open (credential)")
	_, js := testbench.Connect(t, "nats://"+r.NATS)
	if _, err := js.PauseConsumer(ctx, subject.LookupRetries, subject.LookupDueConsumer("yapay"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	r.out.line(ctx, t, "yapay answers no account: its look-ups are paused until ")
	if _, err := js.ResumeConsumer(ctx, subject.LookupRetries, subject.LookupDueConsumer("yapay")); err != nil {
		t.Fatal(err)
	}
	r.out.line(ctx, t, "yapay is asked again")
	text, _ := r.out.read()
	for line := range strings.Lines(text) {
		if columns := len([]rune(strings.TrimSuffix(line, "\n"))); columns > 120 && !strings.HasPrefix(line, "  ") {
			t.Errorf("a line has %d columns: %s", columns, line)
		}
	}
}
