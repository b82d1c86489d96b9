package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

var began = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tokens(t testing.TB) subject.Tokens {
	t.Helper()
	all, err := subject.Keyed("a key of more than 16 bytes")
	must(t, err)
	return all
}

// forget erases payments that are in the index.
func forget(t testing.TB, x *Index, payments ...string) {
	t.Helper()
	removed, err := x.Forget(named(t, payments...), func(Payment) bool { return true }, Position{Sequence: 7})
	must(t, err)
	if removed != len(payments) {
		t.Fatalf("%d payments were removed, want %d", removed, len(payments))
	}
}

// named are payments as FORGOTTEN names them.
func named(t testing.TB, payments ...string) (all []subject.Waiting) {
	t.Helper()
	for _, payment := range payments {
		all = append(all, tokens(t).Waiting("sandbox", "default", payment))
	}
	return all
}

// text is a text as entries have it.
func text(of string) []byte { return append(binary.AppendUvarint(nil, uint64(len(of))), of...) }

func open(t testing.TB, folder string) *Index {
	t.Helper()
	x, err := Open(folder, tokens(t))
	must(t, err)
	t.Cleanup(func() { _ = x.Close() }) // A test may have closed it.
	return x
}

// entry is the n-th event, of a payment.
func entry(n int, payment string, status order.Status) Payment {
	return Payment{
		Unit: subject.Unit{Provider: "sandbox", Account: "default", Payment: payment}, Order: "o-" + payment, Reference: "r-" + payment,
		Status: status, At: began.Add(time.Duration(n) * time.Minute), Sequence: uint64(n + 1), Currency: "BRL", Value: 100, //nolint:gosec // Small.
	}
}

func TestPaymentIsFoundByOrderIDAndReference(t *testing.T) {
	t.Parallel()
	x := open(t, t.TempDir())
	must(t, x.Put([]Payment{entry(0, "a", order.Pending), entry(1, "b", order.Paid), entry(2, "a", order.Paid)}, Position{Sequence: 3}))
	accounts := []subject.Unit{{Provider: "sandbox", Account: "default"}, {Provider: "picpay", Account: "default"}}
	for _, token := range []string{"a", "o-a", "r-a"} {
		found, err := x.Find(token, accounts, 10)
		must(t, err)
		if len(found) != 1 || found[0].Unit.Payment != "a" || found[0].Status != order.Paid || found[0].Sequence != 3 {
			t.Errorf("%s finds %+v", token, found)
		}
	}
	for _, token := range []string{"", "o-", "o-c", "o-a\x00sandbox"} {
		if found, err := x.Find(token, accounts, 10); err != nil || len(found) != 0 {
			t.Errorf("%q finds %+v, %v", token, found, err)
		}
	}
}

func TestOlderEventChangesNothing(t *testing.T) {
	t.Parallel()
	x := open(t, t.TempDir())
	must(t, x.Put([]Payment{entry(5, "a", order.Paid)}, Position{Sequence: 6}))
	must(t, x.Put([]Payment{entry(4, "a", order.Pending)}, Position{Sequence: 6}))
	p, ok, err := x.Get(subject.Unit{Provider: "sandbox", Account: "default", Payment: "a"})
	must(t, err)
	if !ok || p.Status != order.Paid {
		t.Errorf("it is %+v, %v", p, ok)
	}
}

// Whatever is put, removed and put again, the lists, the totals and the number say the same.
func TestListsAndTotalsAgree(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // The same choices each time.
		x := open(t, t.TempDir())
		x.db.NoSync = true // Nothing here needs a durable file.
		last := map[string]Payment{}
		for n := range 25 {
			p := entry(n*400, string(rune('a'+random.IntN(4))), []order.Status{order.Pending, order.Paid, order.Refunded}[random.IntN(3)])
			p.Value = random.Int64N(1000)
			must(t, x.Put([]Payment{p}, Position{Sequence: p.Sequence}))
			last[p.Unit.Payment] = p
			if random.IntN(20) == 0 {
				forget(t, x, p.Unit.Payment)
				delete(last, p.Unit.Payment)
			}
		}
		for _, status := range []order.Status{"", order.Pending, order.Paid, order.Refunded} {
			want, value := 0, int64(0)
			for _, p := range last {
				if status == "" || p.Status == status {
					want, value = want+1, value+p.Value
				}
			}
			for _, oldest := range []bool{true, false} {
				got, before, after := 0, time.Time{}, ""
				for {
					page, err := x.List(Query{Status: status, Oldest: oldest, After: after, Limit: 2})
					must(t, err)
					for _, p := range page.Payments {
						if p.Value != last[p.Unit.Payment].Value || got > 0 && oldest == p.At.Before(before) {
							t.Fatalf("seed %d: %s is listed as %+v after %v", seed, p.Unit, p, before)
						}
						got, before = got+1, p.At
					}
					if after = page.Next; after == "" {
						break
					}
				}
				if got != want {
					t.Fatalf("seed %d: %d of status %q are listed, want %d (oldest first: %v)", seed, got, status, want, oldest)
				}
			}
			totals, err := x.Totals(began.Add(100 * time.Hour))
			must(t, err)
			count, sum := int64(0), int64(0)
			for _, one := range totals {
				bands := int64(0)
				for _, b := range one.Bands {
					bands += b.Count
				}
				if bands != one.All.Count {
					t.Fatalf("seed %d: the bands of %s have %d payments, all are %d", seed, one.Status, bands, one.All.Count)
				}
				if status == "" || one.Status == status {
					count, sum = count+one.All.Count, sum+one.All.Value
				}
			}
			if count != int64(want) || sum != value {
				t.Fatalf("seed %d: the totals of %q are %d payments of %d, want %d of %d", seed, status, count, sum, want, value)
			}
		}
		if _, _, n, err := x.Read(); err != nil || n != len(last) {
			t.Fatalf("seed %d: there are %d payments, want %d: %v", seed, n, len(last), err)
		}
	}
}

func TestForgottenPaymentLeavesNoByteInTheFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	x := open(t, folder)
	var all []Payment
	for n := range 500 {
		all = append(all, entry(n, fmt.Sprintf("payment-%04d", n), order.Paid))
	}
	must(t, x.Put(all, Position{Sequence: 3000}))
	const gone = "payment-0234"
	forget(t, x, gone)
	if _, forgotten, n, err := x.Read(); err != nil || forgotten.Sequence != 7 || n != 499 {
		t.Errorf("FORGOTTEN was read up to %d, with %d payments: %v", forgotten.Sequence, n, err)
	}
	must(t, x.Close())
	files, err := os.ReadDir(folder)
	must(t, err)
	kept := 0
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(folder, file.Name()))
		must(t, err)
		if bytes.Contains(data, []byte(gone)) {
			t.Errorf("%s has the payment that was forgotten", file.Name())
		}
		kept += bytes.Count(data, text("payment-0235"))
	}
	if kept == 0 {
		t.Error("no file has another payment")
	}
}

// Whatever was put, replaced and removed before, no byte of what is forgotten is left, every
// other payment is, and reads go on meanwhile.
func TestNoByteOfForgottenPaymentsIsLeft(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // The same choices each time.
		folder := t.TempDir()
		x := open(t, folder)
		x.db.NoSync = true // Nothing here needs a durable file.
		kept, n := map[string]Payment{}, 0
		put := func(names ...string) {
			var some []Payment
			for _, name := range names {
				p := entry(n, name, []order.Status{order.Pending, order.Paid, order.Refunded}[random.IntN(3)])
				n++
				some, kept[name] = append(some, p), p
			}
			must(t, x.Put(some, Position{Sequence: uint64(n)})) //nolint:gosec // Small.
		}
		var names []string
		for i := range 400 + random.IntN(1500) {
			names = append(names, fmt.Sprintf("payment-%d-%s", i*2654435761%99991, strings.Repeat("x", random.IntN(120))))
		}
		put(names...)
		stop, reading := make(chan struct{}), sync.WaitGroup{}
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if page, err := x.List(Query{Limit: 100}); err != nil || len(page.Payments) == 0 {
					t.Errorf("seed %d: %d are listed, %v", seed, len(page.Payments), err)
					return
				}
			}
		})
		gone := map[string]bool{}
		for range 5 {
			for range random.IntN(300) {
				if name := names[random.IntN(len(names))]; !gone[name] {
					put(name)
				}
			}
			if random.IntN(2) == 0 {
				removed, err := x.RemoveBefore(began.Add(time.Duration(random.IntN(300))*time.Minute), 50)
				must(t, err)
				for name, p := range kept {
					if _, ok, err := x.Get(p.Unit); err == nil && !ok {
						delete(kept, name)
						gone[name] = true
						removed--
					}
				}
				if removed != 0 {
					t.Fatalf("seed %d: %d more were removed than are missing", seed, removed)
				}
			}
			var erased []string
			for range 1 + random.IntN(20) {
				if name := names[random.IntN(len(names))]; !gone[name] {
					delete(kept, name)
					gone[name] = true
					erased = append(erased, name)
				}
			}
			forget(t, x, erased...)
			data, err := os.ReadFile(filepath.Join(folder, "payments.db"))
			must(t, err)
			for name := range gone {
				if bytes.Contains(data, text(name)) || bytes.Contains(data, text("o-"+name)) {
					t.Fatalf("seed %d: the file has %s", seed, name)
				}
			}
		}
		close(stop)
		reading.Wait()
		must(t, x.view(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				t.Errorf("seed %d: %v", seed, err)
			}
			return nil
		}))
		must(t, x.Close())
		x = open(t, folder)
		for name, want := range kept {
			if p, ok, err := x.Get(want.Unit); err != nil || !ok || p.Sequence != want.Sequence {
				t.Fatalf("seed %d: %s is %+v, %v, %v", seed, name, p, ok, err)
			}
		}
		if _, _, count, err := x.Read(); err != nil || count != len(kept) {
			t.Errorf("seed %d: there are %d payments, want %d: %v", seed, count, len(kept), err)
		}
	}
}

// A transaction that a crash cut short has written behind the last page in use.
func TestWhatAnUnfinishedTransactionWroteIsOverwritten(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	x := open(t, folder)
	must(t, x.Put([]Payment{entry(0, "a", order.Paid), entry(1, "b", order.Paid)}, Position{Sequence: 2}))
	path := filepath.Join(folder, "payments.db")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = file.WriteString("payment-1")
	must(t, errors.Join(err, file.Close()))
	forget(t, x, "a")
	if data, err := os.ReadFile(path); err != nil || bytes.Contains(data, []byte("payment-1")) {
		t.Errorf("the rest is there, %v", err)
	}
}

func TestChangedCursorIsRefused(t *testing.T) {
	t.Parallel()
	x := open(t, t.TempDir())
	must(t, x.Put([]Payment{entry(0, "a", order.Paid)}, Position{Sequence: 1}))
	if _, err := x.List(Query{After: "no place", Limit: 1}); !errors.Is(err, errCursor) {
		t.Errorf("a cursor that is none: %v", err)
	}
}

func TestFileOutlivesARestartAndAReset(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	x := open(t, folder)
	must(t, x.Put([]Payment{entry(0, "a", order.Paid)}, Position{Created: began, Sequence: 1}))
	must(t, x.Close())
	x = open(t, folder)
	if read, _, n, err := x.Read(); err != nil || n != 1 || !read.Created.Equal(began) {
		t.Errorf("%d payments, read %+v, %v", n, read, err)
	}
	must(t, x.Reset())
	if read, _, n, err := x.Read(); err != nil || n != 0 || read.Sequence != 0 {
		t.Errorf("%d payments, read %+v, %v", n, read, err)
	}
}

func TestPaymentsThatSweepRemovesAreRemoved(t *testing.T) {
	t.Parallel()
	x := open(t, t.TempDir())
	must(t, x.Put([]Payment{entry(0, "a", order.Paid), entry(10, "b", order.Paid)}, Position{Sequence: 11}))
	n, err := x.RemoveBefore(began.Add(5*time.Minute), 100)
	must(t, err)
	if _, _, left, err := x.Read(); n != 1 || left != 1 || err != nil {
		t.Errorf("%d were removed, %d are left: %v", n, left, err)
	}
}
