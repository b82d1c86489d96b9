package index

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// maxScan is how many entries one call of List reads, so that a filter which few entries match
// costs a bounded time. The page then goes on where it stopped.
const maxScan = 5000

// Query chooses payments for a list.
type Query struct {
	Status   order.Status // "" for every status.
	Provider string       // "" for every provider.
	Account  string       // "" for every account.
	Currency *string      // Only payments of this currency, "" for those without an amount. nil for all.
	Since    time.Time    // Only payments whose last event is as old or younger. Zero for all.
	Before   time.Time    // Only payments whose last event is older. Zero for all.
	Oldest   bool         // The oldest first, instead of the newest.
	After    string       // The Next of the page before, "" for the first page.
	Limit    int          // How many at most.
}

// Page is a part of a list.
type Page struct {
	Payments []Payment
	Next     string // Where the list goes on, "" at its end.
}

// errCursor means that a page's address was changed by hand.
var errCursor = errors.New("that is not a place in the list")

// List lists payments by the time of their last event.
func (x *Index) List(q Query) (page Page, err error) {
	prefix := append([]byte(q.Status), 0)
	at, err := q.start(prefix)
	if err != nil {
		return page, err
	}
	err = x.view(func(tx *bolt.Tx) error {
		c, accounts := tx.Bucket(listsBucket).Cursor(), tx.Bucket(accountsBucket)
		key, step := q.seek(c, at), c.Prev
		if q.Oldest {
			step = c.Next
		}
		for scanned := 0; key != nil && bytes.HasPrefix(key, prefix); scanned++ {
			if q.ends(key) {
				return nil
			}
			if len(page.Payments) == q.Limit || scanned == maxScan {
				page.Next = base64.RawURLEncoding.EncodeToString(key)
				return nil
			}
			if of := key[len(prefix)+8:]; q.matches(accounts.Get(of[:accountBytes])) {
				p, known, err := get(tx, of)
				if err != nil {
					return err
				}
				if known && (q.Currency == nil || *q.Currency == p.Currency) {
					page.Payments = append(page.Payments, p)
				}
			}
			key, _ = step()
		}
		return nil
	})
	return page, err
}

// start is the key at which the page begins, nil for the end of the list.
func (q Query) start(prefix []byte) ([]byte, error) {
	if q.After == "" {
		switch {
		case q.Oldest && !q.Since.IsZero():
			return listKey(q.Status, q.Since, nil), nil
		case q.Oldest:
			return prefix, nil
		case !q.Before.IsZero():
			return listKey(q.Status, q.Before, nil), nil
		}
		return append(slices.Clone(prefix), bytes.Repeat([]byte{0xff}, 9)...), nil
	}
	at, err := base64.RawURLEncoding.DecodeString(q.After)
	if err != nil || !bytes.HasPrefix(at, prefix) || len(at) < len(prefix)+8 {
		return nil, errCursor
	}
	return at, nil
}

// seek moves to the first entry of the page.
func (q Query) seek(c *bolt.Cursor, at []byte) []byte {
	key, _ := c.Seek(at)
	switch {
	case q.Oldest || q.After != "" && bytes.Equal(key, at):
		return key
	case key == nil:
		key, _ = c.Last()
	default:
		key, _ = c.Prev()
	}
	return key
}

// ends reports whether an entry lies behind the last one in the time that is asked for.
func (q Query) ends(key []byte) bool {
	if q.Oldest {
		return !q.Before.IsZero() && bytes.Compare(key, listKey(q.Status, q.Before, nil)) >= 0
	}
	return !q.Since.IsZero() && bytes.Compare(key, listKey(q.Status, q.Since, nil)) < 0
}

// matches reports whether the payments of an account are chosen, which is named with its provider.
func (q Query) matches(name []byte) bool {
	provider, account, _ := bytes.Cut(name, []byte("."))
	return (q.Provider == "" || q.Provider == string(provider)) && (q.Account == "" || q.Account == string(account))
}

// Get returns one payment. ok is false if ORDERS has no event of it.
func (x *Index) Get(unit subject.Unit) (p Payment, ok bool, err error) {
	err = x.view(func(tx *bolt.Tx) error {
		p, ok, err = get(tx, x.key(tx, unit))
		return err
	})
	return p, ok, err
}

// Find returns at most so many payments whose order, own id or provider's reference is a
// token. units are the accounts in which the token may be a payment's.
func (x *Index) Find(token string, units []subject.Unit, limit int) (found []Payment, err error) {
	seen := map[subject.Unit]bool{}
	err = x.view(func(tx *bolt.Tx) error {
		add := func(key []byte) error {
			p, known, err := get(tx, key)
			if known && !seen[p.Unit] && (p.Order == token || p.Reference == token || p.Unit.Payment == token) {
				seen[p.Unit] = true
				found = append(found, p)
			}
			return err
		}
		for _, u := range units {
			u.Payment = token
			if len(found) == limit {
				return nil
			}
			if err := add(x.key(tx, u)); err != nil {
				return err
			}
		}
		prefix := x.name(token)
		c := tx.Bucket(namesBucket).Cursor()
		for key, _ := c.Seek(prefix); bytes.HasPrefix(key, prefix) && len(found) < limit; key, _ = c.Next() {
			if err := add(key[len(prefix):]); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// Total is what the payments of a status and currency have in sum.
type Total struct {
	Status   order.Status
	Currency string // "" for payments without an amount.
	Bands    []Band // By the age of the last event, the youngest first; as many as Ages.
	All      Band
}

// Band is a part of a total.
type Band struct {
	Count    int64
	Value    int64 // Minor units.
	Refunded int64 // Minor units.
}

// Ages are the upper ends of the bands, in days of the last event in UTC; 0 is today, and the
// last band has no end.
var Ages = []int64{0, 6, 29}

// Within is the time in which the last event of the payments of a band is: since the first,
// and before the second. Zero is no bound.
func Within(now time.Time, band int) (since, before time.Time) {
	begin := func(ago int64) time.Time { return time.Unix((day(now)-ago)*24*60*60, 0).UTC() }
	if band < len(Ages) {
		since = begin(Ages[band])
	}
	if band > 0 {
		before = begin(Ages[band-1])
	}
	return since, before
}

// Totals are the sums by status, currency and age.
func (x *Index) Totals(now time.Time) (all []Total, err error) {
	today := day(now)
	err = x.view(func(tx *bolt.Tx) error {
		return tx.Bucket(totalsBucket).ForEach(func(key, body []byte) error {
			parts := strings.Split(string(key), "\x00")
			var t total
			if err := json.Unmarshal(body, &t); err != nil || len(parts) != 3 {
				return errors.Join(err, fmt.Errorf("totals have the key %q", key))
			}
			on, err := strconv.ParseInt(parts[2], 10, 64)
			if err != nil {
				return err
			}
			last := len(all) - 1
			if last < 0 || string(all[last].Status) != parts[0] || all[last].Currency != parts[1] {
				all = append(all, Total{Status: order.Status(parts[0]), Currency: parts[1], Bands: make([]Band, len(Ages)+1)})
				last++
			}
			band := len(Ages)
			for i, end := range Ages {
				if today-on <= end {
					band = i
					break
				}
			}
			for _, into := range []*Band{&all[last].Bands[band], &all[last].All} {
				into.Count, into.Value, into.Refunded = into.Count+t.Count, into.Value+t.Value, into.Refunded+t.Refunded
			}
			return nil
		})
	})
	return all, err
}
