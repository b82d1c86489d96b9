package index

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

func TestEntryDecodesAsItWasEncodedAndNotIfItIsCut(t *testing.T) {
	t.Parallel()
	want := Payment{
		Unit: subject.Unit{Payment: strings.Repeat("p", subject.MaxToken)}, Order: "o", Reference: "r", Kind: order.Payment, Status: order.Paid,
		At: time.Unix(0, 1793491200000000001).UTC(), Sequence: 1 << 60, Transition: 7, Currency: "BRL", Value: -1 << 40, Refunded: 12,
	}
	body := want.encode()
	if got, err := decode(body); err != nil || got != want {
		t.Errorf("it is %+v, %v", got, err)
	}
	for n := range body {
		if got, err := decode(body[:n]); err == nil {
			t.Errorf("%d bytes of it are %+v", n, got)
		}
	}
	if _, err := decode(append(body, 0)); err == nil {
		t.Error("an entry with a byte more decodes")
	}
}

// FORGOTTEN names a payment by the hash of its id, whatever its token is.
func TestEveryFormOfTokenIsErased(t *testing.T) {
	t.Parallel()
	x := open(t, t.TempDir())
	ids := []string{"102030", "an id with blanks", "maria@example.com", strings.Repeat("long", 50)}
	var all []Payment
	for n, id := range ids {
		all = append(all, entry(n, tokens(t).Token(id), order.Paid))
	}
	must(t, x.Put(append(all, entry(9, "kept", order.Paid)), Position{Sequence: 10}))
	forget(t, x, ids...)
	if page, err := x.List(Query{Limit: 10}); err != nil || len(page.Payments) != 1 || page.Payments[0].Unit.Payment != "kept" {
		t.Errorf("%+v are left, %v", page.Payments, err)
	}
}

func TestPaymentsOfEachAccountAreApart(t *testing.T) {
	t.Parallel()
	x := open(t, t.TempDir())
	var all []Payment
	for n := range 300 {
		p := entry(n, "same", order.Paid)
		p.Unit.Account = strconv.Itoa(n)
		all = append(all, p)
	}
	must(t, x.Put(all, Position{Sequence: 300}))
	page, err := x.List(Query{Account: "257", Limit: 10})
	must(t, err)
	if len(page.Payments) != 1 || page.Payments[0].Unit.Account != "257" {
		t.Errorf("account 257 has %+v", page.Payments)
	}
	removed, err := x.Forget([]subject.Waiting{tokens(t).Waiting("sandbox", "257", "same"), tokens(t).Waiting("picpay", "257", "same")}, func(Payment) bool { return true }, Position{})
	if _, _, n, readErr := x.Read(); err != nil || removed != 1 || n != 299 || readErr != nil {
		t.Errorf("%d were removed, %d are left, %v, %v", removed, n, err, readErr)
	}
}

// around is how much the kernel maps for one page that is read, in KiB; some of it can be behind the
// last page in use, which is all that is given back.
const around = 64

// What is read and changed does not stay mapped.
func TestMemoryOfTheFileIsGivenBack(t *testing.T) {
	t.Parallel()
	x := open(t, t.TempDir())
	x.db.NoSync = true // Nothing here needs a durable file.
	for n := range 20 {
		var all []Payment
		for i := range 500 {
			all = append(all, entry(n*500+i, fmt.Sprintf("payment-%d", (n*500+i)*2654435761%99991), order.Paid))
		}
		must(t, x.Put(all, Position{Sequence: 1}))
		if kilobytes := mapped(t, x.path); kilobytes >= around {
			t.Fatalf("%d KiB are mapped after %d payments were stored", kilobytes, (n+1)*500)
		}
	}
	for name, do := range map[string]func() error{
		"list":   func() error { _, err := x.List(Query{Limit: 500}); return err },
		"totals": func() error { _, err := x.Totals(began); return err },
		"erase": func() error {
			_, err := x.Forget(named(t, "payment-0"), func(Payment) bool { return true }, Position{})
			return err
		},
	} {
		must(t, do())
		if kilobytes := mapped(t, x.path); kilobytes >= around {
			t.Errorf("%d KiB are mapped after %s", kilobytes, name)
		}
	}
}

// mapped is how much of a file is mapped into memory and resident, in KiB.
func mapped(t *testing.T, path string) (kilobytes int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	must(t, err)
	_, of, found := bytes.Cut(text, []byte(path+"\n"))
	if !found {
		t.Fatalf("%s is not mapped", path)
	}
	_, of, _ = bytes.Cut(of, []byte("\nRss:"))
	kilobytes, err = strconv.Atoi(strings.Fields(string(of[:min(len(of), 100)]))[0])
	must(t, err)
	return kilobytes
}
