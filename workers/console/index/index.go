// Package index is a local file by which payments are listed and searched: one entry for each
// payment that ORDERS has, with its last status. It is made from ORDERS alone and can be
// deleted at any time.
//
// The file holds what the broker's subjects hold: ids that may be personal are keyed hashes in
// it. What arauto forget erases is removed from it, and the free pages of the file are then
// overwritten.
package index

import (
	"bytes"
	"encoding/binary"
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

// version is that of the file's layout. A file of another version is built again.
const version = "1"

// openTimeout is how long another process may hold the file, such as a console that stops.
const openTimeout = 5 * time.Second

// The buckets.
var (
	metaBucket       = []byte("meta")       // See the keys below.
	paymentsBucket   = []byte("payments")   // Unit to Payment.
	listsBucket      = []byte("lists")      // Status, 0, time, unit. The status "" is every status.
	ordersBucket     = []byte("orders")     // Order, 0, unit, where the order differs from the payment.
	referencesBucket = []byte("references") // Provider's reference, 0, unit, where it differs from the payment.
	totalsBucket     = []byte("totals")     // Status, 0, currency, 0, day to the number and the sums.
)

var buckets = [][]byte{metaBucket, paymentsBucket, listsBucket, ordersBucket, referencesBucket, totalsBucket}

// The keys of the meta bucket.
var (
	versionKey   = []byte("version")
	ordersKey    = []byte("orders")    // Position on ORDERS.
	forgottenKey = []byte("forgotten") // Position on FORGOTTEN.
	countKey     = []byte("count")     // Number of payments.
	dirtyKey     = []byte("dirty")     // Set while free pages have bytes of what was removed.
)

// Payment is one payment as its last event left it. Order and Reference are subject tokens.
type Payment struct {
	Unit       subject.Unit `json:"-"`
	Order      string       `json:"o,omitempty"`
	Reference  string       `json:"r,omitempty"` // "" for none.
	Kind       order.Kind   `json:"k,omitempty"`
	Status     order.Status `json:"s"`
	At         time.Time    `json:"-"` // The broker's timestamp of the last event.
	Nanos      int64        `json:"t"`
	Sequence   uint64       `json:"n"` // On ORDERS.
	Transition uint64       `json:"e,omitempty"`
	Currency   string       `json:"c,omitempty"` // "" while no amount is known.
	Value      int64        `json:"v,omitempty"` // Minor units.
	Refunded   int64        `json:"b,omitempty"` // Minor units.
}

// Position is how far a stream was read.
type Position struct {
	Created  time.Time `json:"created"` // When the stream was created; a younger stream counts from 1.
	Sequence uint64    `json:"sequence"`
}

// Index is the open file. Its methods may be called concurrently.
type Index struct {
	path string

	writes sync.Mutex   // Held by every change, and while free pages are overwritten.
	swap   sync.RWMutex // Held for writing while db is replaced, or its free pages are overwritten.
	db     *bolt.DB
}

// Open opens the file in a folder, which is created if it is missing. A file that cannot be
// read, or is of another version, is replaced by an empty one.
func Open(folder string) (*Index, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of index: %w", err)
	}
	x := &Index{path: filepath.Join(folder, "payments.db")}
	err := x.open()
	if errors.Is(err, berrors.ErrTimeout) { // Another process has it.
		return nil, fmt.Errorf("open index %s: another process has it open: %w", x.path, err)
	}
	if err != nil {
		if err = destroy(x.path); err == nil {
			err = x.open()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	return x, nil
}

// options are those of every opened file. The list of free pages is not stored, so that a
// commit writes little.
func options() *bolt.Options {
	return &bolt.Options{Timeout: openTimeout, NoFreelistSync: true, FreelistType: bolt.FreelistMapType}
}

// errVersion means that the file has another layout.
var errVersion = errors.New("the index is of another version")

func (x *Index) open() error {
	db, err := bolt.Open(x.path, 0o600, options())
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta != nil && string(meta.Get(versionKey)) != version {
			return errVersion
		}
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(metaBucket).Put(versionKey, []byte(version))
	})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	x.db = db
	return nil
}

// Close closes the file.
func (x *Index) Close() error {
	x.swap.Lock()
	defer x.swap.Unlock()
	return x.db.Close()
}

// view reads the file.
func (x *Index) view(read func(*bolt.Tx) error) error {
	x.swap.RLock()
	defer x.swap.RUnlock()
	if err := x.db.View(read); err != nil {
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
	return nil
}

// Put stores payments and how far ORDERS was read for them. An event that is older than what
// is stored of its payment changes nothing.
func (x *Index) Put(payments []Payment, read Position) error {
	return x.update(func(tx *bolt.Tx) error {
		for _, p := range payments {
			if err := put(tx, p); err != nil {
				return err
			}
		}
		return putPosition(tx, ordersKey, read)
	})
}

func put(tx *bolt.Tx, p Payment) error {
	before, known, err := get(tx, []byte(p.Unit.String()))
	if err != nil {
		return err
	}
	if known {
		if before.Sequence >= p.Sequence {
			return nil
		}
		if err := remove(tx, before); err != nil {
			return err
		}
	}
	p.Nanos = p.At.UnixNano()
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return join(
		tx.Bucket(paymentsBucket).Put([]byte(p.Unit.String()), body),
		each(p, func(bucket, key []byte) error { return tx.Bucket(bucket).Put(key, nil) }),
		count(tx, p, 1),
	)
}

// remove deletes a stored payment from every bucket.
func remove(tx *bolt.Tx, p Payment) error {
	return join(
		tx.Bucket(paymentsBucket).Delete([]byte(p.Unit.String())),
		each(p, func(bucket, key []byte) error { return tx.Bucket(bucket).Delete(key) }),
		count(tx, p, -1),
	)
}

func join(all ...error) error { return errors.Join(all...) }

func get(tx *bolt.Tx, unit []byte) (p Payment, known bool, err error) {
	body := tx.Bucket(paymentsBucket).Get(unit)
	if body == nil {
		return p, false, nil
	}
	p, err = decode(unit, body)
	return p, true, err
}

func decode(unit, body []byte) (p Payment, err error) {
	if err := json.Unmarshal(body, &p); err != nil {
		return p, fmt.Errorf("decode entry: %w", err)
	}
	parts := bytes.SplitN(unit, []byte("."), 3)
	if len(parts) != 3 {
		return p, errors.New("an entry's key names no payment")
	}
	p.Unit = subject.Unit{Provider: string(parts[0]), Account: string(parts[1]), Payment: string(parts[2])}
	p.At = time.Unix(0, p.Nanos).UTC()
	return p, nil
}

// each calls do with the keys of a payment in the buckets that refer to it.
func each(p Payment, do func(bucket, key []byte) error) error {
	unit := p.Unit.String()
	all := join(do(listsBucket, listKey("", p.At, unit)), do(listsBucket, listKey(p.Status, p.At, unit)))
	if p.Order != "" && p.Order != p.Unit.Payment {
		all = join(all, do(ordersBucket, []byte(p.Order+"\x00"+unit)))
	}
	if p.Reference != "" && p.Reference != p.Unit.Payment {
		all = join(all, do(referencesBucket, []byte(p.Reference+"\x00"+unit)))
	}
	return all
}

// listKey sorts by status, time and unit.
func listKey(status order.Status, at time.Time, unit string) []byte {
	key := append([]byte(status), 0)
	key = binary.BigEndian.AppendUint64(key, uint64(at.UnixNano()))
	return append(key, unit...)
}

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
