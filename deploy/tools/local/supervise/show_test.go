package supervise

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"arauto/schemas/order"
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
			body, err := json.Marshal(c.event)
			if err != nil {
				t.Fatal(err)
			}
			got, err := eventLine(c.on, body, at)
			if err != nil || got != c.want || len([]rune(got)) > 120 {
				t.Errorf("error %v, line\n%q, want\n%q", err, got, c.want)
			}
		})
	}
}

// TestReadmeShowsTheLineThatIsPrinted is about what a person sees first.
func TestReadmeShowsTheLineThatIsPrinted(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(order.Event{
		Provider: "picpay", Account: "default", Transition: 1, Status: order.Paid, Confirmed: true,
		Amount: &order.Amount{Currency: "BRL", Value: 10000},
	})
	if err != nil {
		t.Fatal(err)
	}
	line, err := eventLine("orders.picpay.default.102030.102030.paid", body, time.Date(2026, 11, 22, 1, 2, 3, 4e6, time.Local))
	if err != nil || !strings.Contains(string(readme), line+"\n") {
		t.Errorf("the README does not show this line: %q, %v", line, err)
	}
}

func TestEventThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"orders.a.b.c.d.paid", "{"}, {"orders.a.b", "{}"}} {
		if line, err := eventLine(c[0], []byte(c[1]), time.Now()); err == nil {
			t.Errorf("%q gives %q", c, line)
		}
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

func TestOnlyWarningsReachTheScreenButEverythingTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var shown bytes.Buffer
	book, err := openLogbook(dir, "lookup", &screen{to: &shown})
	if err != nil {
		t.Fatal(err)
	}
	text := `{"level":"info","msg":"quiet"}` + "\n" +
		`{"level":"warn","msg":"loud","error":"of course"}` + "\npanic: oh\n\n" +
		`{"level":"warn","msg":"webhook.refused","provider":"picpay","rule":"type","field":"referenceId","error":"of course"}` + "\n"
	for _, b := range []byte(text) { // One byte at a time: lines must be put together.
		if _, err := book.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if err := book.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "lookup.log"))
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
	book, err := openLogbook(t.TempDir(), "lookup", &screen{to: &shown})
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close() //nolint:errcheck // Its content is not looked at.
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	book.now = func() time.Time { return now }
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

func TestMergedMetricsKeepForeignRoleLabels(t *testing.T) {
	t.Parallel()
	family := func(kind dto.MetricType, labels ...*dto.LabelPair) families {
		return families{"x": {Name: new("x"), Type: new(kind), Metric: []*dto.Metric{{Label: labels}}}}
	}
	own := &dto.LabelPair{Name: new("role"), Value: new("admin")}
	all := merge(map[string]families{
		"a": family(dto.MetricType_GAUGE, own), "b": family(dto.MetricType_GAUGE), "c": family(dto.MetricType_COUNTER), "d": nil,
	})
	var got []string
	for _, metric := range all["x"].GetMetric() {
		var text []string
		for _, label := range metric.GetLabel() {
			text = append(text, label.GetName()+"="+label.GetValue())
		}
		got = append(got, strings.Join(text, ","))
	}
	if want := "exported_role=admin,role=a role=b"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q; the counter of that name must be left out", got, want)
	}
}
