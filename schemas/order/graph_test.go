package order_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/providers"
)

// grids say what each word means in each state, worked out by hand: Applied,
// Unchanged, Late, Illegal, a Return that a second look must confirm, or a Correction that needs a longer
// run. Rows
// are states; the columns are the same statuses in the same order.
var grids = map[order.Kind]string{
	order.Payment: `
		pending            U A A A A A A A A A A A A A
		processing         R U A A A A A A A A A A A A
		in_analysis        L L U A A A A A A A A A A A
		authorized         L L L U A A A A A A A A I A
		paid               L L L L U A A A A A I A I I
		settled            L L L L L U A A A A I A I I
		partially_refunded L L L L L L U A A A I A I I
		refunded           L L L L C L C U C C I I I I
		disputed           L L L L R R R A U A I A I I
		charged_back       L L L L R R R C C U I I I I
		expired            L L L C C C C C C C U I I I
		canceled           L L L C C C C C C C I U I I
		refused            L L L C C C C C C C I I U I
		failed             L L L C C C C C C C I I I U`,
	order.Payout: `
		pending     U A A A A A A A A
		processing  R U A A A A A A A
		in_analysis L L U A A A A A A
		authorized  L L L U A A A I A
		paid        L L L L U I I I I
		expired     L L L C C U I I I
		canceled    L L L C C I U I I
		refused     L L L C C I I U I
		failed      L L L C C I I I U`,
	order.Authentication: `
		pending           U A A
		authenticated     L U I
		not_authenticated L I U`,
}

// finals are the states without a way out.
var finals = map[order.Kind]string{
	order.Payment:        "expired canceled refused failed refunded charged_back",
	order.Payout:         "expired canceled refused failed paid",
	order.Authentication: "authenticated not_authenticated",
}

// outcomes are the letters of the grids.
var outcomes = map[string]order.Outcome{
	"A": order.Applied, "U": order.Unchanged, "L": order.Late, "I": order.Illegal, "R": order.Unconfirmed, "C": order.Unconfirmed,
}

// failer is what tests and property tests have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// grid reads the letters of one kind by state and word.
func grid(t failer, kind order.Kind) map[order.Status]map[order.Status]string {
	t.Helper()
	rows := strings.Split(strings.TrimSpace(grids[kind]), "\n")
	var names []order.Status
	for _, row := range rows {
		names = append(names, order.Status(strings.Fields(row)[0]))
	}
	cells := map[order.Status]map[order.Status]string{}
	for i, row := range rows {
		letters := strings.Fields(row)[1:]
		if len(letters) != len(names) {
			t.Fatalf("row %s has %d cells, want %d", names[i], len(letters), len(names))
		}
		cells[names[i]] = map[order.Status]string{}
		for j, letter := range letters {
			cells[names[i]][names[j]] = letter
		}
	}
	return cells
}

func sample(kind order.Kind, status order.Status, refunded int64) order.Observation {
	return order.Observation{
		Provider: "sandbox", Account: "default", Kind: kind, Payment: "p", Order: "o",
		Status: status, ProviderStatus: string(status), AnsweredAt: start, Confirmed: true,
		Amount: &order.Amount{Currency: "BRL", Value: 10000, Refunded: refunded},
	}
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestEveryWordInEveryStateMeansWhatIsDeclared(t *testing.T) {
	t.Parallel()
	for _, kind := range order.Kinds() {
		cells := grid(t, kind)
		if len(cells) != len(kind.Statuses()) {
			t.Errorf("%s has the statuses %v, want %d", kind, kind.Statuses(), len(cells))
		}
		for state, row := range cells {
			for word, letter := range row {
				want := outcomes[letter]
				if got := kind.Corrects(state, word) && state != order.PartiallyRefunded; got != (letter == "C") {
					t.Errorf("%s: %s to %s is a correction: %t", kind, state, word, got)
				}
				s := order.Standing{Kind: kind, Status: state, Refunded: 5}
				after, got := s.Fold(sample(kind, word, 5), start)
				if got != want {
					t.Errorf("%s at %s: %s is %s, want %s", kind, state, word, got, want)
				}
				if moved := after.Status != state; moved != (want == order.Applied) || moved && after.Status != word {
					t.Errorf("%s at %s: %s, %s, moves to %s", kind, state, word, got, after.Status)
				}
				if again, _ := s.Fold(sample(kind, word, 5), start); again != after {
					t.Errorf("%s at %s: folding %s twice differs", kind, state, word)
				}
			}
			if after, got := (order.Standing{Kind: kind, Status: state}).Fold(sample(kind, "", 0), start); got != order.UnknownWord || after.Status != state {
				t.Errorf("%s at %s: an unknown word is %s", kind, state, got)
			}
		}
	}
}

func TestEveryProviderWordInEveryStateMeansWhatIsDeclared(t *testing.T) {
	t.Parallel()
	walked := 0
	for _, p := range providers.All {
		for kind, vocabulary := range p.Vocabulary {
			cells := grid(t, kind)
			for word, status := range vocabulary {
				o := sample(kind, status, 0)
				o.ProviderStatus = word
				if after, got := (order.Standing{}).Fold(o, start); got != order.Applied || after.Status != status {
					t.Errorf("%s: %q from nothing is %s", p.Name, word, got)
				}
				for state, row := range cells {
					walked++
					if _, got := (order.Standing{Kind: kind, Status: state}).Fold(o, start); got != outcomes[row[status]] {
						t.Errorf("%s at %s: %q is %s, want %s", p.Name, state, word, got, row[status])
					}
				}
			}
		}
	}
	if walked < 500 {
		t.Errorf("only %d pairs were walked", walked)
	}
}

func TestFinalStatesHaveNoWayOut(t *testing.T) {
	t.Parallel()
	for _, kind := range order.Kinds() {
		want := strings.Fields(finals[kind])
		for _, s := range kind.Statuses() {
			if kind.Final(s) != slices.Contains(want, string(s)) {
				t.Errorf("%s %s: final is %t", kind, s, kind.Final(s))
			}
		}
	}
	if order.Kind("nothing").Final("paid") || order.Payment.Final("nothing") || order.Kind("nothing").Knows("paid") {
		t.Error("something unknown is final")
	}
}

func TestAnotherKindIsIllegal(t *testing.T) {
	t.Parallel()
	at := order.Standing{Kind: order.Payment, Status: order.Pending}
	if _, got := at.Fold(sample(order.Payout, order.Paid, 0), start); got != order.Illegal {
		t.Errorf("a payout in a payment's log is %s", got)
	}
	if _, got := (order.Standing{}).Fold(sample(order.Authentication, order.Paid, 0), start); got != order.Illegal {
		t.Errorf("a paid authentication is %s", got)
	}
}
