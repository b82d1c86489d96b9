// Package duequeue holds keys of stored messages, such as their sequences, by the time at
// which each is to be read again. A key takes 16 bytes.
package duequeue

import (
	"container/heap"
	"time"
)

// Queue holds keys by due time. The zero Queue is empty. It is not
// safe for concurrent use.
type Queue struct{ items items }

// Add adds a key that is due at a time, in O(log n).
func (q *Queue) Add(key uint64, at time.Time) {
	heap.Push(&q.items, entry{key, at.UnixNano()})
}

// First is the key with the earliest time. ok is false when the queue is empty.
func (q *Queue) First() (key uint64, at time.Time, ok bool) {
	if len(q.items) == 0 {
		return 0, time.Time{}, false
	}
	return q.items[0].key, time.Unix(0, q.items[0].at), true
}

// Drop removes the first key. The queue must not be empty.
func (q *Queue) Drop() { heap.Pop(&q.items) }

// entry is a key and its due time, in nanoseconds since 1970.
type entry struct {
	key uint64
	at  int64
}

// items is a heap.Interface whose first element is due first.
type items []entry

// Len implements heap.Interface.
func (q items) Len() int { return len(q) }

// Less implements heap.Interface.
func (q items) Less(i, j int) bool { return q[i].at < q[j].at }

// Swap implements heap.Interface.
func (q items) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *items) Push(x any) {
	if e, ok := x.(entry); ok {
		*q = append(*q, e)
	}
}

// Pop implements heap.Interface.
func (q *items) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
