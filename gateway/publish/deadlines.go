package publish

import "time"

// deadlineQueue holds entries with one common timeout, in the order of their deadlines,
// behind one timer. A context with a deadline for each message would cost as much as
// publishing it. The Committer's lock protects it.
type deadlineQueue struct {
	list  []queuedDeadline
	timer *time.Timer
	armed bool
}

type queuedDeadline struct {
	*entry
	at time.Time
}

// newDeadlineQueue calls expired in a goroutine of its own when a deadline has passed.
func newDeadlineQueue(expired func()) deadlineQueue {
	timer := time.AfterFunc(time.Hour, expired)
	timer.Stop()
	return deadlineQueue{timer: timer}
}

// add appends an entry. Its deadline must not be before that of any other entry.
func (q *deadlineQueue) add(e *entry, at time.Time) {
	q.dropCompleted()
	q.list = append(q.list, queuedDeadline{e, at})
	q.arm()
}

// takeExpired removes the entries whose deadline has passed, and arms the timer for the
// next.
func (q *deadlineQueue) takeExpired(now time.Time) []*entry {
	q.armed = false
	var expired []*entry
	for q.dropCompleted(); len(q.list) > 0 && !q.list[0].at.After(now); q.dropCompleted() {
		expired = append(expired, q.list[0].entry)
		q.list = q.list[1:]
	}
	q.arm()
	return expired
}

// first is the next deadline, false if there is none.
func (q *deadlineQueue) first() (at time.Time, ok bool) {
	if q.dropCompleted(); len(q.list) == 0 {
		return time.Time{}, false
	}
	return q.list[0].at, true
}

// dropCompleted removes completed entries from the head of the queue.
func (q *deadlineQueue) dropCompleted() {
	for len(q.list) > 0 && q.list[0].completed {
		q.list = q.list[1:]
	}
}

func (q *deadlineQueue) arm() {
	if !q.armed && len(q.list) > 0 {
		q.armed = true
		q.timer.Reset(time.Until(q.list[0].at))
	}
}

// expireEntries completes entries whose publish timeout has passed with ErrTimeout.
func (c *Committer) expireEntries() {
	c.mu.Lock()
	now := time.Now()
	for _, e := range c.timeouts.takeExpired(now) {
		c.timeOut(e)
	}
	o := c.dequeue(now)
	c.mu.Unlock()
	c.send(o)
}
