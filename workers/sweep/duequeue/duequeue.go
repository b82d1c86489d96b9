// Package duequeue holds sequences of stored messages by the time at which each is to
// be read again. A message takes 16 bytes.
package duequeue

import (
	"container/heap"
	"time"
)

// Queue holds messages of one stream by due time. The zero Queue is empty. It is not
// safe for concurrent use.
type Queue struct{ items items }

// Add adds a message that is due at a time, in O(log n).
func (q *Queue) Add(sequence uint64, at time.Time) {
	heap.Push(&q.items, entry{sequence, at.UnixNano()})
}

// First is the message with the earliest time. ok is false when the queue is empty.
func (q *Queue) First() (sequence uint64, at time.Time, ok bool) {
	if len(q.items) == 0 {
		return 0, time.Time{}, false
	}
	return q.items[0].sequence, time.Unix(0, q.items[0].at), true
}

// Drop removes the first message. The queue must not be empty.
func (q *Queue) Drop() { heap.Pop(&q.items) }
