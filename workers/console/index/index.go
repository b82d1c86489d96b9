// Package index is a local file by which payments are listed and searched: one entry for each
// payment that ORDERS has, with its last status. It is made from ORDERS alone and can be
// deleted at any time.
//
// The file holds what the broker's subjects hold: ids that may be personal are keyed hashes in
// it. What arauto forget erases is removed from it, and the free pages of the file are then
// overwritten.
package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// The buckets. What a key is says entry.go.
var (
	metaBucket     = []byte("meta")     // See the keys below.
	accountsBucket = []byte("accounts") // Provider and account to their number, and the number to them.
	paymentsBucket = []byte("payments") // Key to Payment.
	listsBucket    = []byte("lists")    // Status, 0, time, key. The status "" is every status.
	namesBucket    = []byte("names")    // Hash of the order or of the provider's reference, key; each where it differs from the payment.
	totalsBucket   = []byte("totals")   // Status, 0, currency, 0, day to the number and the sums.
)

var buckets = [][]byte{metaBucket, accountsBucket, paymentsBucket, listsBucket, namesBucket, totalsBucket}

// The keys of the meta bucket.
var (
	ordersKey    = []byte("orders")    // Position on ORDERS.
	forgottenKey = []byte("forgotten") // Position on FORGOTTEN.
	countKey     = []byte("count")     // Number of payments.
	dirtyKey     = []byte("dirty")     // Set while free pages have bytes of what was removed.
)

// Payment is one payment as its last event left it. Order and Reference are subject tokens.
type Payment struct {
	Unit       subject.Unit
	Order      string
	Reference  string // "" for none.
	Kind       order.Kind
	Status     order.Status
	At         time.Time // The broker's timestamp of the last event.
	Sequence   uint64    // On ORDERS.
	Transition uint64
	Currency   string // "" while no amount is known.
	Value      int64  // Minor units.
	Refunded   int64  // Minor units.
}

// Position is how far a stream was read.
type Position struct {
	Created  time.Time `json:"created"` // When the stream was created; a younger stream counts from 1.
	Sequence uint64    `json:"sequence"`
}

// Index is the open file. Its methods may be called concurrently.
type Index struct {
	path    string
	tokens  subject.Tokens
	rebuilt bool
	closed  bool

	writes  sync.Mutex   // Held by every change, and while free pages are overwritten.
	inDoubt bool         // The last overwriting failed, so what it wrote may not be on the disk. Guarded by writes.
	swap    sync.RWMutex // Held for writing while db is replaced, or its free pages are overwritten.
	db      *bolt.DB
}

// Open opens the file in a folder, which is created if it is missing. A file that is not as
// Close left it, or is of another version, is replaced by an empty one. tokens are the deployment's.
func Open(folder string, tokens subject.Tokens) (*Index, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of index: %w", err)
	}
	x := &Index{path: filepath.Join(folder, "payments.db"), tokens: tokens}
	err := x.open(x.sealed)
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("open index %s: another process has it open: %w", x.path, err)
	}
	if err != nil {
		err = x.open(neverSealed)
	}
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	return x, nil
}

// Rebuilt reports whether Open found a file and replaced it.
func (x *Index) Rebuilt() bool { return x.rebuilt }

// open opens the file, as it is if it is sealed, and otherwise empty.
func (x *Index) open(sealed func(*os.File) bool) error {
	db, err := bolt.Open(x.path, 0o600, &bolt.Options{
		// The list of free pages is stored: to make it, all pages would be read and mapped.
		FreelistType: bolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			return x.openFile(name, flag, mode, sealed)
		},
	})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	x.db = db
	return nil
}

// Close seals and closes the file.
func (x *Index) Close() error {
	x.writes.Lock()
	defer x.writes.Unlock()
	x.swap.Lock()
	defer x.swap.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	return join(x.seal(), x.db.Close())
}

// view reads the file.
func (x *Index) view(read func(*bolt.Tx) error) error {
	x.swap.RLock()
	defer x.swap.RUnlock()
	if err := x.db.View(released(read)); err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	return nil
}

// update changes the file in one transaction.
func (x *Index) update(write func(*bolt.Tx) error) error {
	x.writes.Lock()
	defer x.writes.Unlock()
	x.swap.RLock()
	defer x.swap.RUnlock()
	if err := x.db.Update(write); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return x.db.View(release)
}

// Put stores payments and how far ORDERS was read for them. An event that is older than what
// is stored of its payment changes nothing.
func (x *Index) Put(payments []Payment, read Position) error {
	return x.update(func(tx *bolt.Tx) error {
		tx.Bucket(listsBucket).FillPercent = listFill
		for _, p := range payments {
			if err := x.put(tx, p); err != nil {
				return err
			}
		}
		return putPosition(tx, ordersKey, read)
	})
}

func (x *Index) put(tx *bolt.Tx, p Payment) error {
	if err := addAccount(tx, p.Unit); err != nil {
		return err
	}
	key := x.key(tx, p.Unit)
	before, known, err := get(tx, key)
	if err != nil {
		return err
	}
	if known {
		if before.Sequence >= p.Sequence {
			return nil
		}
		if err := x.remove(tx, key, before); err != nil {
			return err
		}
	}
	return join(
		tx.Bucket(paymentsBucket).Put(key, p.encode()),
		x.each(key, p, func(bucket, key []byte) error { return tx.Bucket(bucket).Put(key, nil) }),
		count(tx, p, 1),
	)
}

// remove deletes a stored payment from every bucket.
func (x *Index) remove(tx *bolt.Tx, key []byte, p Payment) error {
	return join(
		tx.Bucket(paymentsBucket).Delete(key),
		x.each(key, p, func(bucket, key []byte) error { return tx.Bucket(bucket).Delete(key) }),
		count(tx, p, -1),
	)
}

func join(all ...error) error { return errors.Join(all...) }

// total is what the payments of one status, currency and day of their last event have in sum.
type total struct {
	Count    int64 `json:"n"`
	Value    int64 `json:"v"`
	Refunded int64 `json:"b"`
}

// day is the day of a time in UTC, counted from 1970.
func day(at time.Time) int64 { return at.Unix() / (24 * 60 * 60) }

// count adds a payment to the totals, or takes it out of them with -1.
func count(tx *bolt.Tx, p Payment, by int64) error {
	totals, key := tx.Bucket(totalsBucket), []byte(string(p.Status)+"\x00"+p.Currency+"\x00"+strconv.FormatInt(day(p.At), 10))
	var t total
	if body := totals.Get(key); body != nil {
		if err := json.Unmarshal(body, &t); err != nil {
			return fmt.Errorf("decode totals: %w", err)
		}
	}
	t.Count, t.Value, t.Refunded = t.Count+by, t.Value+by*p.Value, t.Refunded+by*p.Refunded
	if t.Count == 0 {
		if err := totals.Delete(key); err != nil {
			return err
		}
	} else {
		body, err := json.Marshal(t)
		if err != nil {
			return err
		}
		if err := totals.Put(key, body); err != nil {
			return err
		}
	}
	meta := tx.Bucket(metaBucket)
	n, _ := strconv.ParseInt(string(meta.Get(countKey)), 10, 64) // 0 for none yet.
	return meta.Put(countKey, strconv.AppendInt(nil, n+by, 10))
}

func putPosition(tx *bolt.Tx, key []byte, at Position) error {
	body, err := json.Marshal(at)
	if err != nil {
		return err
	}
	return tx.Bucket(metaBucket).Put(key, body)
}

// Read is how far ORDERS and FORGOTTEN were read, and how many payments there are.
func (x *Index) Read() (orders, forgotten Position, payments int, err error) {
	err = x.view(func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		for key, into := range map[string]*Position{string(ordersKey): &orders, string(forgottenKey): &forgotten} {
			if body := meta.Get([]byte(key)); body != nil {
				if err := json.Unmarshal(body, into); err != nil {
					return err
				}
			}
		}
		payments, _ = strconv.Atoi(string(meta.Get(countKey))) // 0 for none yet.
		return nil
	})
	return orders, forgotten, payments, err
}
