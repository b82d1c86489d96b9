// Package duequeue remembers which stored messages are to be looked at again, and
// when. It is for what would else be read over and over: a message costs 16
// bytes until its time has come.
package duequeue

import (
	"container/heap"
	"time"
)

// Queue is a list of messages of one stream by the time at which to look at
// them. The zero Agenda is empty and ready to use. It is not safe for
// concurrent use.
type Queue struct{ items items }

// Add puts a message on the list.
func (a *Queue) Add(sequence uint64, at time.Time) {
	heap.Push(&a.items, entry{sequence, at.UnixNano()})
}

// First is the message with the earliest time. ok is false when the list is
// empty.
func (a *Queue) First() (sequence uint64, at time.Time, ok bool) {
	if len(a.items) == 0 {
		return 0, time.Time{}, false
	}
	return a.items[0].sequence, time.Unix(0, a.items[0].at), true
}

// Drop takes the first message off the list, which must not be empty.
func (a *Queue) Drop() { heap.Pop(&a.items) }
