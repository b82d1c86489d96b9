package supervise

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
)

func TestEventIsOneAlignedLine(t *testing.T) {
	t.Parallel()
	pending := order.Pending
	at := time.Date(2026, 11, 22, 1, 2, 3, 4e6, time.Local)
	for name, c := range map[string]struct {
		event order.Event
		on    string
		want  string
	}{
		"first": {
			order.Event{Provider: "picpay", Account: "default", Transition: 1, Status: order.Paid, Confirmed: true, Amount: &order.Amount{Currency: "BRL", Value: 10000}},
			"orders.picpay.default.102030.102030.paid",
			"01:02:03.004  #1   paid                               R$ 100,00  orders.picpay.default.102030.102030.paid",
		},
		"unconfirmed without amount": {
			order.Event{Provider: "beeteller", Account: "acme", Transition: 12, From: &pending, Status: order.Refused},
			"orders.beeteller.acme.p.ref.refused",
			"01:02:03.004  #12  pending -> refused               unconfirmed  orders.beeteller.acme.p.ref.refused",
		},
		"refunded": {
			order.Event{Provider: "yapay", Account: "default", Transition: 3, Status: order.PartiallyRefunded, Confirmed: true, Amount: &order.Amount{Currency: "BRL", Value: 123456, Refunded: 5}},
			"orders.yapay.default.p.o.partially_refunded",
			"01:02:03.004  #3   partially_refunded             refunded R$ 0,05  orders.yapay.default.p.o.partially_refunded",
		},
		"longer than a terminal is wide": {
			order.Event{Provider: "picpay", Account: "default", Transition: 4, From: &pending, Status: order.Paid, Confirmed: true, Correction: true},
			"orders.picpay.default." + strings.Repeat("p", 128) + "." + strings.Repeat("o", 128) + ".paid",
			"01:02:03.004  #4   pending -> paid                 correction -  orders.picpay.default." + strings.Repeat("p", 32) + "…",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := timed(at, eventLine(c.on, c.event)); got != c.want || len([]rune(got)) > 120 {
				t.Errorf("line\n%q, want\n%q", got, c.want)
			}
		})
	}
}

// TestReadmeShowsTheLineThatIsPrinted is about what a person sees first.
func TestReadmeShowsTheLineThatIsPrinted(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../../../README.md")
	testbench.Must(t, err)
	line := timed(time.Date(2026, 11, 22, 1, 2, 3, 4e6, time.Local), eventLine("orders.picpay.default.102030.102030.paid", order.Event{
		Provider: "picpay", Account: "default", Transition: 1, Status: order.Paid, Confirmed: true,
		Amount: &order.Amount{Currency: "BRL", Value: 10000},
	}))
	if !strings.Contains(string(readme), line+"\n") {
		t.Errorf("the README does not show this line: %q", line)
	}
}

func TestUnreadableMessageIsLoggedAndNotShown(t *testing.T) {
	t.Parallel()
	var shown bytes.Buffer
	log, logged := testbench.Logs(zap.WarnLevel)
	s := &supervisor{log: log, screen: &screen{to: &shown}}
	show := notes(s, shownPerSecond, func(_ string, l record.DeadLetter) string { return l.ID })
	show("dead.x", []byte("{"))
	if lines := logged.FilterField(zap.String("subject", "dead.x")).Len(); lines != 1 || shown.Len() != 0 {
		t.Errorf("%d lines logged, shown %q", lines, shown.String())
	}
	if show("dead.x", []byte(`{"id":"letter"}`)); !strings.HasSuffix(shown.String(), "  letter\n") {
		t.Errorf("a readable one is shown as %q", shown.String())
	}
}

func TestMoneyIsWrittenAsBraziliansDo(t *testing.T) {
	t.Parallel()
	for cents, want := range map[int64]string{
		0: "R$ 0,00", 5: "R$ 0,05", 10000: "R$ 100,00", 99999: "R$ 999,99", 100000: "R$ 1.000,00",
		123456789: "R$ 1.234.567,89", -5: "R$ -0,05", -9223372036854775808: "R$ -92.233.720.368.547.758,08",
	} {
		if got := money(&order.Amount{Currency: "BRL", Value: cents}); got != want {
			t.Errorf("%d is %q, want %q", cents, got, want)
		}
	}
	if got := money(&order.Amount{Currency: "CLP", Value: 5000}); got != "CLP 5.000" {
		t.Errorf("5000 pesos of Chile are %q", got)
	}
	if got := money(&order.Amount{Currency: "USD", Value: 1}); got != "USD 0,01" {
		t.Errorf("a dollar cent is %q", got)
	}
}

func TestNothingThatATerminalObeysIsShown(t *testing.T) {
	t.Parallel()
	if got := plain("a\x1b[31mb\nc\u009bd", 100); got != "a.[31mb.c.d" {
		t.Errorf("got %q", got)
	}
	if got := plain("ação", 3); got != "aç…" {
		t.Errorf("got %q", got)
	}
}

// logging is a supervisor that only opens log files.
func logging(t *testing.T, dir string, shown io.Writer) *supervisor {
	t.Helper()
	s := &supervisor{Options: Options{Dir: dir}, screen: &screen{to: shown}}
	testbench.Must(t, os.Mkdir(s.logDir(), 0o700))
	return s
}

func TestOnlyWarningsReachTheScreenButEverythingTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var shown bytes.Buffer
	book, err := logging(t, dir, &shown).openLogbook("lookup")
	testbench.Must(t, err)
	text := `{"level":"info","msg":"quiet"}` + "\n" +
		`{"level":"warn","msg":"loud","error":"of course"}` + "\npanic: oh\n\n" +
		`{"level":"warn","msg":"webhook.refused","provider":"picpay","rule":"type","field":"referenceId","error":"of course"}` + "\n"
	for _, b := range []byte(text) { // One byte at a time: lines must be put together.
		if _, err := book.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	testbench.Must(t, book.file.Close())
	file, err := os.ReadFile(filepath.Join(dir, "log", "lookup.log"))
	if err != nil || string(file) != text {
		t.Errorf("error %v, file %q, want %q", err, file, text)
	}
	lines := strings.Split(strings.TrimSpace(shown.String()), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[0], "  lookup: warn: loud (of course)") || !strings.HasSuffix(lines[1], "  lookup: panic: oh") ||
		!strings.HasSuffix(lines[2], "  lookup: warn: webhook.refused (picpay, rule type, field referenceId)") {
		t.Errorf("shown %q", lines)
	}
	// Its role would end for an error.
	if n, err := book.Write([]byte("late\n")); n != 5 || err != nil || !strings.HasSuffix(shown.String(), "late\n") {
		t.Errorf("without its file: %d, %v, shown %q", n, err, shown.String())
	}
}

func TestFloodOfWarningsIsCountedInsteadOfShown(t *testing.T) {
	t.Parallel()
	var shown bytes.Buffer
	book, err := logging(t, t.TempDir(), &shown).openLogbook("lookup")
	testbench.Must(t, err)
	defer book.file.Close() //nolint:errcheck // Its content is not looked at.
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	book.feed.now = func() time.Time { return now }
	flood := func(lines int) {
		for i := range lines {
			if _, err := fmt.Fprintf(book, `{"level":"error","msg":"no %d"}`+"\n", i); err != nil {
				t.Fatal(err)
			}
		}
	}
	flood(1000)
	if got := strings.Count(shown.String(), "\n"); got != shownPerSecond {
		t.Errorf("%d lines shown in one second, want %d", got, shownPerSecond)
	}
	now = now.Add(time.Second)
	flood(1)
	if !strings.Contains(shown.String(), "995 more lines are in ") {
		t.Errorf("the hidden lines are not counted: %s", shown.String())
	}
}
