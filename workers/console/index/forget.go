package index

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"arauto/schemas/subject"
)

// The suffixes of the file that is being written again, and of the file that it replaces.
const (
	newSuffix = ".new"
	oldSuffix = ".old"
)

// copyBatch is how many bytes one transaction of the copy writes.
const copyBatch = 1 << 20

// removeBatch is how many entries one transaction removes.
const removeBatch = 1000

// Forget removes every payment that forgotten says yes to, stores how far FORGOTTEN was read,
// and writes the file again if one was removed: a removed entry's bytes stay in the pages of
// the old file, which is overwritten before it is deleted. Pages are read meanwhile; changes
// wait.
func (x *Index) Forget(forgotten func(Payment) bool, read Position) (removed int, err error) {
	if forgotten != nil {
		if removed, err = x.removeAll(forgotten); err != nil {
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
		if err := x.rewrite(); err != nil {
			return removed, err
		}
	}
	// The position is stored last: after a crash before it, everything above is done again.
	return removed, x.update(func(tx *bolt.Tx) error {
		return join(tx.Bucket(metaBucket).Delete(dirtyKey), putPosition(tx, forgottenKey, read))
	})
}

// removeAll removes the payments that gone says yes to.
func (x *Index) removeAll(gone func(Payment) bool) (removed int, err error) {
	var after []byte
	for {
		var batch []Payment
		err := x.view(func(tx *bolt.Tx) error {
			c := tx.Bucket(paymentsBucket).Cursor()
			for unit, body := c.Seek(after); unit != nil && len(batch) < removeBatch; unit, body = c.Next() {
				p, err := decode(unit, body)
				if err != nil {
					return err
				}
				after = append(bytes.Clone(unit), 0)
				if gone(p) {
					batch = append(batch, p)
				}
			}
			return nil
		})
		if err != nil || len(batch) == 0 {
			return removed, err
		}
		if err := x.drop(batch, erased); err != nil {
			return removed, err
		}
		removed += len(batch)
	}
}

// erased marks the file as one that must be written again.
func erased(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(dirtyKey, []byte{1}) }

// drop removes payments, and does more in the same transaction; nil for no more.
func (x *Index) drop(batch []Payment, more func(*bolt.Tx) error) error {
	return x.update(func(tx *bolt.Tx) error {
		if more != nil {
			if err := more(tx); err != nil {
				return err
			}
		}
		for _, p := range batch {
			if err := remove(tx, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// RemoveBefore removes payments whose last event is older than a time, as sweep removes them
// from ORDERS. It removes at most so many, and returns how many it has removed.
func (x *Index) RemoveBefore(at time.Time, most int) (int, error) {
	page, err := x.List(Query{Before: at, Oldest: true, Limit: most})
	if err != nil || len(page.Payments) == 0 {
		return 0, err
	}
	return len(page.Payments), x.drop(page.Payments, nil)
}

// ForgottenSubject is the subject on FORGOTTEN of a payment that is named by its token.
func ForgottenSubject(tokens subject.Tokens, u subject.Unit) string {
	w := subject.Waiting{Provider: u.Provider, Account: u.Account}
	if hash, hashed := strings.CutPrefix(u.Payment, "~"); hashed {
		w.Hash = hash
	} else if id, err := url.PathUnescape(u.Payment); err == nil {
		w.Hash = tokens.Hash(id)
	}
	return w.Forgotten()
}

// rewrite replaces the file by a copy without free pages.
func (x *Index) rewrite() error {
	x.writes.Lock()
	defer x.writes.Unlock()
	fresh := x.path + newSuffix
	if err := x.copyTo(fresh); err != nil {
		return fmt.Errorf("write index again: %w", errors.Join(err, destroy(fresh)))
	}
	if err := x.replace(fresh); err != nil {
		return err
	}
	return errors.Join(destroy(x.path+oldSuffix), syncFolder(filepath.Dir(x.path)))
}

// copyTo copies what the file holds.
func (x *Index) copyTo(fresh string) error {
	x.swap.RLock()
	defer x.swap.RUnlock()
	target, err := bolt.Open(fresh, 0o600, options())
	if err != nil {
		return err
	}
	return errors.Join(bolt.Compact(target, x.db, copyBatch), target.Sync(), target.Close())
}

// replace puts a file in the place of the open one, which gets another name.
func (x *Index) replace(fresh string) error {
	x.swap.Lock()
	defer x.swap.Unlock()
	if err := x.db.Close(); err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	err := os.Rename(x.path, x.path+oldSuffix)
	if err == nil {
		err = os.Rename(fresh, x.path)
	}
	return errors.Join(err, x.open())
}

// Reset empties the index, for a stream that was created again.
func (x *Index) Reset() error {
	x.writes.Lock()
	defer x.writes.Unlock()
	x.swap.Lock()
	defer x.swap.Unlock()
	if err := x.db.Close(); err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	if err := destroy(x.path); err != nil {
		return err
	}
	return x.open()
}

// destroy overwrites a file with zeros and deletes it, as the broker does with what is erased.
// A file system that never writes in place keeps the old bytes until it reuses them.
func destroy(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("overwrite index: %w", err)
	}
	info, err := file.Stat()
	zeros := make([]byte, copyBatch)
	for at := int64(0); err == nil && at < info.Size(); at += copyBatch {
		_, err = file.WriteAt(zeros[:min(copyBatch, info.Size()-at)], at)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close(), os.Remove(path)); err != nil {
		return fmt.Errorf("overwrite index: %w", err)
	}
	return nil
}

// syncFolder makes renames durable.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync folder of index: %w", err)
	}
	return errors.Join(folder.Sync(), folder.Close())
}
