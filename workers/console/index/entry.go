package index

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// A payment's key is the number of its account and the beginning of the keyed hash of its id:
// what a record of FORGOTTEN names is found by it, and the other buckets refer to a payment by a
// few bytes. Two of 100 million payments of an account have the same 10 bytes with a
// probability of 4 in a billion; the later one would then replace the earlier one.
const (
	accountBytes = 2
	hashBytes    = 10
	nameBytes    = 8 // Of the hash of an order or a reference. What is found by it is compared in full.
)

// listFill is how full a page of lists is when it is split. Nearly all is added at the ends.
const listFill = 0.9

// key is the key of a payment, nil if its account has no number.
func (x *Index) key(tx *bolt.Tx, u subject.Unit) []byte {
	number := tx.Bucket(accountsBucket).Get(accountName(u))
	if number == nil {
		return nil
	}
	return append(bytes.Clone(number), x.hash(hashOf(x.tokens, u.Payment), hashBytes)...)
}

func accountName(u subject.Unit) []byte { return []byte(u.Provider + "." + u.Account) }

// addAccount gives a payment's account a number, unless it has one.
func addAccount(tx *bolt.Tx, u subject.Unit) error {
	accounts, name := tx.Bucket(accountsBucket), accountName(u)
	if accounts.Get(name) != nil {
		return nil
	}
	n, err := accounts.NextSequence()
	if err != nil {
		return err
	}
	if n > math.MaxUint16 {
		return fmt.Errorf("account %s is one more than the index has numbers for", name)
	}
	number := binary.BigEndian.AppendUint16(nil, uint16(n))
	return join(accounts.Put(name, number), accounts.Put(number, name))
}

// hashOf is the keyed hash of the id that a token names.
func hashOf(tokens subject.Tokens, token string) string {
	if hash, hashed := strings.CutPrefix(token, "~"); hashed {
		return hash
	}
	if id, err := url.PathUnescape(token); err == nil {
		return tokens.Hash(id)
	}
	return tokens.Hash(token)
}

// hash is the first bytes of a hash in hexadecimal digits, or of the hash of a text that is none.
func (x *Index) hash(text string, size int) []byte {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) < size {
		raw, _ = hex.DecodeString(x.tokens.Hash(text)) // Hash has made the digits.
	}
	return raw[:size]
}

// name is where an order or a reference refers to payments.
func (x *Index) name(token string) []byte { return x.hash(x.tokens.Hash(token), nameBytes) }

// each calls do with the keys of a payment in the buckets that refer to it.
func (x *Index) each(key []byte, p Payment, do func(bucket, key []byte) error) error {
	all := join(do(listsBucket, listKey("", p.At, key)), do(listsBucket, listKey(p.Status, p.At, key)))
	for _, token := range []string{p.Order, p.Reference} {
		if token != "" && token != p.Unit.Payment {
			all = join(all, do(namesBucket, append(x.name(token), key...)))
		}
	}
	return all
}

// listKey sorts by status, time and key.
func listKey(status order.Status, at time.Time, key []byte) []byte {
	all := append([]byte(status), 0)
	all = binary.BigEndian.AppendUint64(all, uint64(at.UnixNano()))
	return append(all, key...)
}

// get reads the payment of a key, which may be nil.
func get(tx *bolt.Tx, key []byte) (p Payment, known bool, err error) {
	body := tx.Bucket(paymentsBucket).Get(key)
	if body == nil {
		return p, false, nil
	}
	if p, err = decode(body); err != nil {
		return p, false, err
	}
	provider, account, named := strings.Cut(string(tx.Bucket(accountsBucket).Get(key[:accountBytes])), ".")
	if !named {
		return p, false, errors.New("an entry's key names no account")
	}
	p.Unit.Provider, p.Unit.Account = provider, account
	return p, true, nil
}

// encode is an entry: texts with their length before them, then numbers.
func (p Payment) encode() (body []byte) {
	for _, text := range []string{p.Unit.Payment, p.Order, p.Reference, string(p.Kind), string(p.Status), p.Currency} {
		body = binary.AppendUvarint(body, uint64(len(text)))
		body = append(body, text...)
	}
	for _, n := range []uint64{p.Sequence, p.Transition} {
		body = binary.AppendUvarint(body, n)
	}
	for _, n := range []int64{p.At.UnixNano(), p.Value, p.Refunded} {
		body = binary.AppendVarint(body, n)
	}
	return body
}

// decode reads what encode has made, without provider and account.
func decode(body []byte) (p Payment, err error) {
	r := reader{rest: body}
	p.Unit.Payment, p.Order, p.Reference = r.text(), r.text(), r.text()
	p.Kind, p.Status, p.Currency = order.Kind(r.text()), order.Status(r.text()), r.text()
	p.Sequence, p.Transition = r.unsigned(), r.unsigned()
	p.At, p.Value, p.Refunded = time.Unix(0, r.signed()).UTC(), r.signed(), r.signed()
	if r.cut || len(r.rest) > 0 {
		return p, errors.New("an entry does not decode")
	}
	return p, nil
}

// reader reads an entry. It is cut if the entry ends too early.
type reader struct {
	rest []byte
	cut  bool
}

func (r *reader) unsigned() uint64 {
	n, size := binary.Uvarint(r.rest)
	r.advance(size)
	return n
}

func (r *reader) signed() int64 {
	n, size := binary.Varint(r.rest)
	r.advance(size)
	return n
}

func (r *reader) text() string {
	size := r.unsigned()
	if size > uint64(len(r.rest)) {
		r.advance(0)
		return ""
	}
	text := string(r.rest[:size])
	r.rest = r.rest[size:]
	return text
}

// advance skips a number of size bytes; without any there was no number.
func (r *reader) advance(size int) {
	if size <= 0 {
		r.rest, r.cut = nil, true
		return
	}
	r.rest = r.rest[size:]
}
