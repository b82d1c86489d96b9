// Package agenda remembers which stored messages are to be looked at again, and
// when. It is for what would else be read over and over: a message costs 16
// bytes until its time has come.
package agenda

import (
	"container/heap"
	"time"
)

// Agenda is a list of messages of one stream by the time at which to look at
// them. The zero Agenda is empty and ready to use. It is not safe for
// concurrent use.
type Agenda struct{ queue queue }

// Add puts a message on the list.
func (a *Agenda) Add(sequence uint64, at time.Time) {
	heap.Push(&a.queue, entry{sequence, at.UnixNano()})
}

// First is the message with the earliest time. ok is false when the list is
// empty.
func (a *Agenda) First() (sequence uint64, at time.Time, ok bool) {
	if len(a.queue) == 0 {
		return 0, time.Time{}, false
	}
	return a.queue[0].sequence, time.Unix(0, a.queue[0].at), true
}

// Drop takes the first message off the list, which must not be empty.
func (a *Agenda) Drop() { heap.Pop(&a.queue) }
