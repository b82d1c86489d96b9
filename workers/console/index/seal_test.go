package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	berrors "go.etcd.io/bbolt/errors"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

const file = "payments.db"

// sealed makes a folder with an index of some payments that was closed.
func sealed(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	x := open(t, folder)
	var all []Payment
	for n := range 500 {
		all = append(all, entry(n, fmt.Sprintf("payment-%04d", n), order.Paid))
	}
	must(t, x.Put(all, Position{Sequence: 500}))
	forget(t, x, "payment-0007") // Some pages are free, and are listed as free.
	must(t, x.Close())
	return folder
}

// copied copies the files of a folder.
func copied(t *testing.T, from string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	must(t, os.CopyFS(folder, os.DirFS(from)))
	return folder
}

// empty wants an index without payments that takes new ones and leaves nothing of the old ones.
func empty(t *testing.T, folder string) {
	t.Helper()
	x := open(t, folder)
	if read, _, n, err := x.Read(); err != nil || n != 0 || read.Sequence != 0 || !x.Rebuilt() {
		t.Fatalf("%d payments, read %+v, rebuilt: %v, %v", n, read, x.Rebuilt(), err)
	}
	must(t, x.Put([]Payment{entry(0, "new", order.Paid)}, Position{Sequence: 1}))
	page, err := x.List(Query{Limit: 10})
	must(t, err)
	if len(page.Payments) != 1 || page.Payments[0].Unit.Payment != "new" {
		t.Errorf("it lists %+v", page.Payments)
	}
	must(t, x.Close())
	data, err := os.ReadFile(x.path)
	must(t, err)
	if bytes.Contains(data, []byte("payment-")) {
		t.Error("the file has bytes of what it was")
	}
}

// Each place is damaged in a file of its own. Some of the damage has bbolt panic or never end.
func TestDamagedFileIsRebuilt(t *testing.T) {
	t.Parallel()
	good := sealed(t)
	whole, err := os.ReadFile(filepath.Join(good, file))
	must(t, err)
	const page = 4096
	root := int(binary.LittleEndian.Uint64(whole[16+16:])) * page //nolint:gosec // Small.
	damage := map[string]func([]byte) []byte{
		"nothing of it":     func([]byte) []byte { return []byte(strings.Repeat("no database ", 2000)) },
		"a cut end":         func(all []byte) []byte { return all[:len(all)/2] },
		"a short page":      func(all []byte) []byte { return all[:page+17] },
		"another end":       func(all []byte) []byte { return append(all, "payment-0001"...) },
		"both first pages":  func(all []byte) []byte { clear(all[:2*page]); return all },
		"the root page":     func(all []byte) []byte { clear(all[root : root+page]); return all },
		"a text of a name":  func(all []byte) []byte { return bytes.Replace(all, []byte("payment-0300"), []byte("payment-0x00"), 1) },
		"a page that loops": func(all []byte) []byte { copy(all[root+page:], all[root:root+page]); return all },
	}
	for at := 0; at < len(whole); at += len(whole) / 24 {
		damage[fmt.Sprintf("a bit of byte %d", at)] = func(all []byte) []byte { all[at] ^= 1; return all }
	}
	for name, change := range damage {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := copied(t, good)
			must(t, os.WriteFile(filepath.Join(folder, file), change(bytes.Clone(whole)), 0o600))
			empty(t, folder)
		})
	}
}

func TestFileWithoutItsSealIsRebuilt(t *testing.T) {
	t.Parallel()
	good := sealed(t)
	for name, change := range map[string]func(seal string) error{
		"missing": os.Remove,
		"cut":     func(seal string) error { return os.Truncate(seal, 5) },
		"of another version": func(seal string) error {
			text, err := os.ReadFile(seal)
			return errors.Join(err, os.WriteFile(seal, append([]byte("1"), text[1:]...), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := copied(t, good)
			must(t, change(filepath.Join(folder, file+".seal")))
			empty(t, folder)
		})
	}
}

// A console that was killed leaves the file as it is while it is open.
func TestFileThatWasNotClosedIsRebuilt(t *testing.T) {
	t.Parallel()
	folder := sealed(t)
	x := open(t, folder)
	must(t, x.Put([]Payment{entry(500, "a", order.Paid)}, Position{Sequence: 501}))
	empty(t, copied(t, folder))
}

func TestFileOfAnotherHashKeyIsRebuilt(t *testing.T) {
	t.Parallel()
	folder := sealed(t)
	other, err := subject.Keyed("another key of more than 16 bytes")
	must(t, err)
	x, err := Open(folder, other)
	must(t, err)
	if _, _, n, err := x.Read(); err != nil || n != 0 {
		t.Errorf("%d payments, %v", n, err)
	}
	must(t, x.Close())
}

// A second console does not empty an index that is in use.
func TestFileInUseIsLeftAlone(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	x := open(t, folder)
	must(t, x.Put([]Payment{entry(0, "a", order.Paid)}, Position{Sequence: 1}))
	if _, err := Open(folder, tokens(t)); !errors.Is(err, berrors.ErrTimeout) {
		t.Errorf("a second one: %v", err)
	}
	if page, err := x.List(Query{Limit: 1}); err != nil || len(page.Payments) != 1 {
		t.Errorf("it lists %+v, %v", page, err)
	}
}
