package index

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"arauto/schemas/subject"
)

const (
	// zeroBatch is how many bytes are overwritten at once.
	zeroBatch = 1 << 20
	// scrubBatch is how many bytes are read or overwritten before waiting reads are let through, and
	// scrubPages how many pages are looked at. Guesses: it takes some tens of milliseconds.
	scrubBatch = 16 << 20
	scrubPages = 1 << 12
)

// removeBatch is how many entries one transaction removes.
const removeBatch = 1000

// Forget removes each of the named payments that gone says yes to, stores how far FORGOTTEN
// was read, and overwrites the free pages of the file if one was removed since they were last
// overwritten: a removed entry's bytes stay in them. Pages are read meanwhile; changes wait.
func (x *Index) Forget(named []subject.Waiting, gone func(Payment) bool, read Position) (removed int, err error) {
	for batch := range slices.Chunk(named, removeBatch) {
		n, err := x.removeNamed(batch, gone)
		if removed += n; err != nil {
			return removed, err
		}
	}
	dirty := false
	if err := x.view(func(tx *bolt.Tx) error {
		dirty = tx.Bucket(metaBucket).Get(dirtyKey) != nil
		return nil
	}); err != nil {
		return removed, err
	}
	if dirty {
		if err := x.scrub(); err != nil {
			return removed, err
		}
	}
	// The position is stored last: after a crash before it, everything above is done again.
	return removed, x.update(func(tx *bolt.Tx) error {
		return join(tx.Bucket(metaBucket).Delete(dirtyKey), putPosition(tx, forgottenKey, read))
	})
}

// removeNamed removes the named payments that gone says yes to.
func (x *Index) removeNamed(named []subject.Waiting, gone func(Payment) bool) (removed int, err error) {
	var batch []Payment
	err = x.view(func(tx *bolt.Tx) error {
		for _, w := range named {
			p, known, err := get(tx, x.key(tx, subject.Unit{Provider: w.Provider, Account: w.Account, Payment: "~" + w.Hash}))
			if err != nil {
				return err
			}
			if known && gone(p) {
				batch = append(batch, p)
			}
		}
		return nil
	})
	if err != nil || len(batch) == 0 {
		return 0, err
	}
	return len(batch), x.drop(batch)
}

// erased marks the file as one with bytes of what was removed.
func erased(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(dirtyKey, []byte{1}) }

// drop removes payments, and marks the file.
func (x *Index) drop(batch []Payment) error {
	return x.update(func(tx *bolt.Tx) error {
		if err := erased(tx); err != nil {
			return err
		}
		for _, p := range batch {
			if err := x.remove(tx, x.key(tx, p.Unit), p); err != nil {
				return err
			}
		}
		return nil
	})
}

// RemoveBefore removes payments whose last event is older than a time, as sweep removes them
// from ORDERS. It removes at most so many, and returns how many it has removed. Their bytes are
// overwritten by the next Forget.
func (x *Index) RemoveBefore(at time.Time, most int) (int, error) {
	page, err := x.List(Query{Before: at, Oldest: true, Limit: most})
	if err != nil || len(page.Payments) == 0 {
		return 0, err
	}
	return len(page.Payments), x.drop(page.Payments)
}

// ForgottenSubject is the subject on FORGOTTEN of a payment that is named by its token.
func ForgottenSubject(tokens subject.Tokens, u subject.Unit) string {
	return subject.Waiting{Provider: u.Provider, Account: u.Account, Hash: hashOf(tokens, u.Payment)}.Forgotten()
}

// scrub overwrites with zeros whatever the file has beside the pages in use: free pages, and what
// an unfinished transaction has left behind the last page. The last transaction is durable, so
// none of that is needed after a crash. What is zero already is not written again. Reads wait
// for one batch at a time.
func (x *Index) scrub() error {
	x.writes.Lock()
	defer x.writes.Unlock()
	file, err := os.OpenFile(x.path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("overwrite free pages of index: %w", err)
	}
	for page := 0; err == nil && page >= 0; {
		page, err = x.scrubFrom(file, page)
	}
	if err == nil {
		err = file.Sync()
	}
	x.inDoubt = err != nil
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("overwrite free pages of index: %w", err)
	}
	return nil
}

// scrubFrom is one batch of scrub, from a page on. It returns the page where the next batch
// begins, -1 after the last one.
func (x *Index) scrubFrom(file *os.File, page int) (next int, err error) {
	x.swap.Lock() // A read that had begun could be of pages that are free by now.
	defer x.swap.Unlock()
	tx, err := x.db.Begin(false)
	if err != nil {
		return -1, err
	}
	defer tx.Rollback() //nolint:errcheck // It only reads.
	size, written := int64(x.db.Info().PageSize), int64(0)
	for begin := page; page < begin+scrubPages && written < scrubBatch; {
		free := page
		for ; int64(free-page)*size < zeroBatch; free++ {
			info, err := tx.Page(free)
			if err != nil {
				return -1, err
			}
			if info == nil || info.Type != "free" {
				break
			}
		}
		if err := x.clear(file, int64(page)*size, int64(free)*size); err != nil {
			return -1, err
		}
		written += int64(free-page) * size
		if int64(free)*size >= tx.Size() {
			info, err := file.Stat()
			if err != nil {
				return -1, err
			}
			return -1, join(x.clear(file, tx.Size(), info.Size()), release(tx))
		}
		page = max(free, page+1)
	}
	return page, release(tx)
}

// clear overwrites a part of a file unless it is zero. After a failed sync the kernel may have
// zeros in memory that are not on the disk, so everything is then written.
func (x *Index) clear(file *os.File, from, to int64) error {
	for part := make([]byte, min(zeroBatch, max(to-from, 0))); from < to; from += int64(len(part)) {
		part = part[:min(int64(len(part)), to-from)]
		if _, err := file.ReadAt(part, from); err != nil {
			return err
		}
		if bytes.Count(part, []byte{0}) < len(part) || x.inDoubt {
			if err := zero(file, from, from+int64(len(part))); err != nil {
				return err
			}
		}
	}
	return nil
}

// zero overwrites a part of a file.
func zero(file *os.File, from, to int64) error {
	for zeros := make([]byte, min(zeroBatch, max(to-from, 0))); from < to; from += int64(len(zeros)) {
		if _, err := file.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from); err != nil {
			return err
		}
	}
	return nil
}

// Reset empties the index, for a stream that was created again. A file system that never writes
// in place keeps the old bytes until it reuses them.
func (x *Index) Reset() error {
	x.writes.Lock()
	defer x.writes.Unlock()
	x.swap.Lock()
	defer x.swap.Unlock()
	if err := x.db.Close(); err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	if err := x.open(neverSealed); err != nil {
		return fmt.Errorf("empty index: %w", err)
	}
	return nil
}
