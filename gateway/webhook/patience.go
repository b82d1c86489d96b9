package webhook

import "time"

// patience knows until when each entry has time. All have equally much, so they
// end in the order in which they came, and one timer does for all of them: a
// context with a deadline for each would cost as much as publishing it.
type patience struct {
	list  []wait // By the end of their time.
	timer *time.Timer
	armed bool
}

// wait is until when an entry has time.
type wait struct {
	*entry
	end time.Time
}

// newPatience calls overdue, in a goroutine of its own, when the time of an
// entry is over.
func newPatience(overdue func()) patience {
	timer := time.AfterFunc(time.Hour, overdue)
	timer.Stop()
	return patience{timer: timer}
}

// add takes an entry in whose time ends after that of all others.
func (p *patience) add(e *entry, end time.Time) {
	p.forget()
	p.list = append(p.list, wait{e, end})
	p.arm()
}

// overdue takes out whoever's time is over by now, and sees to the next.
func (p *patience) overdue(now time.Time) []*entry {
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
func (p *patience) oldest() (end time.Time, ok bool) {
	if p.forget(); len(p.list) == 0 {
		return time.Time{}, false
	}
	return p.list[0].end, true
}

// forget drops those at the head who have been told.
func (p *patience) forget() {
	for len(p.list) > 0 && p.list[0].settled {
		p.list = p.list[1:]
	}
}

func (p *patience) arm() {
	if !p.armed && len(p.list) > 0 {
		p.armed = true
		p.timer.Reset(time.Until(p.list[0].end))
	}
}

// expireOverdue tells those whose time is over.
func (p *JetStreamPublisher) expireOverdue() {
	p.mu.Lock()
	now := time.Now()
	for _, e := range p.patience.overdue(now) {
		p.lose(e)
	}
	s := p.next(now)
	p.mu.Unlock()
	p.send(s)
}
