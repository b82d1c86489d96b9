package webhook

import "time"

// deadlineQueue knows until when each entry has time. All have equally much, so they
// end in the order in which they came, and one timer does for all of them: a
// context with a deadline for each would cost as much as publishing it.
type deadlineQueue struct {
	list  []wait // By the end of their time.
	timer *time.Timer
	armed bool
}

// wait is until when an entry has time.
type wait struct {
	*entry
	end time.Time
}

// newDeadlineQueue calls overdue, in a goroutine of its own, when the time of an
// entry is over.
func newDeadlineQueue(overdue func()) deadlineQueue {
	timer := time.AfterFunc(time.Hour, overdue)
	timer.Stop()
	return deadlineQueue{timer: timer}
}

// add takes an entry in whose time ends after that of all others.
func (p *deadlineQueue) add(e *entry, end time.Time) {
	p.forget()
	p.list = append(p.list, wait{e, end})
	p.arm()
}

// overdue takes out whoever's time is over by now, and sees to the next.
func (p *deadlineQueue) overdue(now time.Time) []*entry {
	p.armed = false
	var over []*entry
	for p.forget(); len(p.list) > 0 && !p.list[0].end.After(now); p.forget() {
		over = append(over, p.list[0].entry)
		p.list = p.list[1:]
	}
	p.arm()
	return over
}

// oldest is until when the one that has waited for longest is to be told.
func (p *deadlineQueue) oldest() (end time.Time, ok bool) {
	if p.forget(); len(p.list) == 0 {
		return time.Time{}, false
	}
	return p.list[0].end, true
}

// forget drops those at the head who have been told.
func (p *deadlineQueue) forget() {
	for len(p.list) > 0 && p.list[0].settled {
		p.list = p.list[1:]
	}
}

func (p *deadlineQueue) arm() {
	if !p.armed && len(p.list) > 0 {
		p.armed = true
		p.timer.Reset(time.Until(p.list[0].end))
	}
}

// expireOverdue tells those whose time is over.
func (p *Committer) expireOverdue() {
	p.mu.Lock()
	now := time.Now()
	for _, e := range p.patience.overdue(now) {
		p.timeOut(e)
	}
	s := p.next(now)
	p.mu.Unlock()
	p.send(s)
}
